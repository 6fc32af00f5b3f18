"""The average of the weights: its recursion, and where it is and is not in use."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from diffusers.training_utils import EMAModel
from torch.utils.data import DataLoader

from ddpm_lightning.diffusion.losses import Simple
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaVariance
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.training.callbacks.ema import EMA, averaged
from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.typing import Examples
from tests.cli.test_train import same
from tests.commands import train
from tests.moments import Spoil
from tests.training.test_init_from import FAST

DECAY = 0.9


def new_module() -> DDPM:
    network = UNet(1, 1, (4, 4), channels=8, multipliers=(1,), num_res_blocks=1, attention=(), groups=4)
    model = DenoisingDiffusion(network, GaussianDiffusion(LinearSchedule(T=8)), Epsilon(), BetaVariance(), levels=17)
    return DDPM(model, Simple(), AncestralSampler(), lambda p: torch.optim.Adam(p, lr=0.01), test_strata=2)


class Watch(L.Callback):
    """Keeps the weights after each step; and those that testing saw."""

    def __init__(self) -> None:
        self.history: list[dict[str, torch.Tensor]] = []
        self.tested: dict[str, torch.Tensor] = {}

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.history.append(weights(module))

    def on_test_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        self.tested = weights(module)


def weights(module: DDPM) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in module.model.named_parameters()}


def batches(x_0: torch.Tensor) -> DataLoader[Any]:
    return DataLoader(
        [Examples(x, torch.tensor(i)) for i, x in enumerate(x_0)],
        batch_size=4,
    )


def fit(
    tmp_path: Path, steps: int, accumulate: int = 1, ema: EMA | None = None, *first: L.Callback
) -> tuple[L.Trainer, DDPM, EMA, Watch]:
    ema, watch, module = ema or EMA(DECAY), Watch(), new_module()
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        max_steps=steps,
        accelerator="cpu",
        callbacks=[*first, watch, ema],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        accumulate_grad_batches=accumulate,
    )
    trainer.fit(module, batches(torch.randn(4 * steps * accumulate, 1, 4, 4)))
    return trainer, module, ema, watch


def recursion(history: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """θ̄_1 = θ_1, θ̄_k = decay θ̄_{k−1} + (1 − decay) θ_k, by hand in float64."""
    average = {name: weight.double() for name, weight in history[0].items()}
    for step in history[1:]:
        average = {name: DECAY * average[name] + (1 - DECAY) * step[name].double() for name in average}
    return average


def test_average_is_the_recursion(tmp_path: Path) -> None:
    _, _, ema, watch = fit(tmp_path, steps=6)
    for name, expected in recursion(watch.history).items():
        assert ema.shadow[name].dtype == torch.float32
        assert torch.allclose(ema.shadow[name].double(), expected, rtol=1e-5, atol=1e-7), name


def test_average_moves_with_optimizer_steps_not_with_batches(tmp_path: Path) -> None:
    _, _, ema, watch = fit(tmp_path, steps=3, accumulate=2)
    expected = recursion(watch.history[1::2])
    assert all(torch.allclose(ema.shadow[name].double(), expected[name], atol=1e-6) for name in expected)


def test_skipped_steps_do_not_move_the_average(tmp_path: Path) -> None:
    """The first step that is not skipped is the one that copies."""
    _, _, ema, watch = fit(tmp_path, 6, 1, None, Spoil("gradients", [0, 2, 3]))
    expected = recursion([watch.history[i] for i in (1, 4, 5)])
    assert all(torch.allclose(ema.shadow[name].double(), expected[name], atol=1e-6) for name in expected)


def theirs(history: list[dict[str, torch.Tensor]], decay: float) -> dict[str, torch.Tensor]:
    """What diffusers averages, which always warms up."""
    weights = {name: torch.nn.Parameter(torch.zeros_like(weight)) for name, weight in history[0].items()}
    average = EMAModel(weights.values(), decay=decay)
    for step in history:
        for name, weight in weights.items():
            weight.data.copy_(step[name])
        average.step(weights.values())
    return dict(zip(weights, average.shadow_params, strict=True))


@pytest.mark.parametrize("decay", [0.2, 0.9999])
def test_the_average_warms_up_as_diffusers_does(tmp_path: Path, decay: float) -> None:
    """At 0.2 the second update (3/12) already has the constant decay."""
    _, _, ema, watch = fit(tmp_path, steps=6, ema=EMA(decay, warmup=True))
    expected = theirs(watch.history, decay)
    assert all(torch.allclose(ema.shadow[name], expected[name], rtol=1e-5, atol=1e-7) for name in expected)
    assert [ema.decay_of(n) for n in (1, 2)] == pytest.approx([2 / 11, min(3 / 12, decay)])


def test_an_average_that_warms_up_continues_from_its_state(tmp_path: Path) -> None:
    trainer, module, ema, _ = fit(tmp_path, steps=3, ema=EMA(warmup=True))
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    resumed = EMA(warmup=True)
    resumed.on_load_checkpoint(trainer, module, torch.load(tmp_path / "some.ckpt", weights_only=True))
    resumed.load_state_dict(ema.state_dict())
    fill(module, 0)
    for each in (ema, resumed):
        each.on_train_batch_end(trainer, module, None, None, 3)
    assert resumed.updates == ema.updates == 3
    same(resumed.shadow, ema.shadow)


@pytest.mark.slow
def test_an_average_that_warms_up_is_the_same_across_a_resume(tmp_path: Path) -> None:
    options = ["callbacks.ema.warmup=true", "callbacks.ema.decay=0.9999", *FAST]
    train(tmp_path / "whole", *options)
    train(tmp_path / "halves", *options, "trainer.max_steps=2")
    train(tmp_path / "halves", *options)
    whole, halves = (read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "halves"))
    same(whole["ema"], halves["ema"])


def test_a_checkpoint_that_counted_no_updates_has_made_one_after_each_step_but_the_first() -> None:
    ema, module = EMA(warmup=True), new_module()
    ema.on_load_checkpoint(L.Trainer(logger=False, accelerator="cpu"), module, {"global_step": 7})
    assert ema.updates == 6


@pytest.mark.parametrize(
    ("ema", "steps", "words"),
    [
        (EMA(0.9999), 2000, "82 % of the average will still be the first weights (callbacks.ema.decay=0.9999 "),
        (EMA(0.995), 1600, ""),
        (EMA(0.9999), 800_000, ""),
        (EMA(0.9999, warmup=True), 2000, ""),
    ],
)
def test_an_average_that_stays_with_the_first_weights_is_told(
    ema: EMA, steps: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = L.Trainer(max_steps=steps, logger=False, accelerator="cpu", enable_checkpointing=False)
    ema.on_fit_start(trainer, new_module())
    assert words in caplog.text
    assert ("first weights" in caplog.text) is bool(words)


def test_the_share_that_is_told_is_that_of_the_first_weights() -> None:
    """The average of weights that are 1 at first and 0 after is their share."""
    ema, module = EMA(DECAY), new_module()
    trainer = L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    fill(module, 1)
    ema.start(module)
    fill(module, 0)
    for step in range(20):
        ema.on_train_batch_end(trainer, module, None, None, step)
    assert all(torch.allclose(weight, torch.tensor(DECAY**20)) for weight in ema.shadow.values())


def fill(module: DDPM, value: float) -> None:
    with torch.no_grad():
        for weight in module.model.parameters():
            weight.fill_(value)


def test_testing_sees_the_average_and_leaves_the_weights(tmp_path: Path) -> None:
    trainer, module, ema, watch = fit(tmp_path, steps=4)
    raw = weights(module)
    trainer.test(module, batches(torch.zeros(2, 1, 4, 4)), verbose=False)
    assert all(torch.equal(watch.tested[name], ema.shadow[name]) for name in raw)
    assert all(torch.equal(raw[name], weight) for name, weight in weights(module).items())
    assert any(not torch.equal(raw[name], ema.shadow[name]) for name in raw)


def test_average_is_put_back_after_an_error(tmp_path: Path) -> None:
    trainer, module, _, _ = fit(tmp_path, steps=3)
    raw = weights(module)
    with pytest.raises(ZeroDivisionError), averaged(trainer, module):
        raise ZeroDivisionError
    assert all(torch.equal(raw[name], weight) for name, weight in weights(module).items())


def test_a_checkpoint_written_while_the_average_is_in_use_keeps_both_apart(tmp_path: Path) -> None:
    trainer, module, ema, _ = fit(tmp_path, steps=3)
    raw, shadow = weights(module), copy.deepcopy(ema.shadow)
    with averaged(trainer, module), averaged(trainer, module):  # twice inside is once
        trainer.save_checkpoint(tmp_path / "some.ckpt")
    checkpoint = torch.load(tmp_path / "some.ckpt", weights_only=True)
    assert all(torch.equal(checkpoint["state_dict"][f"model.{name}"], weight) for name, weight in raw.items())
    assert all(torch.equal(checkpoint["ema"][name], weight) for name, weight in shadow.items())


def test_without_the_callback_or_before_the_first_step_the_weights_are_their_own_average() -> None:
    module = new_module()
    raw = weights(module)
    for callbacks in ([], [EMA()]):
        trainer = L.Trainer(callbacks=callbacks, logger=False, accelerator="cpu", enable_checkpointing=False)
        with averaged(trainer, module):
            assert all(torch.equal(raw[name], weight) for name, weight in weights(module).items())
