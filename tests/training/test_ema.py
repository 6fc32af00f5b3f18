"""The average of the weights: its recursion, and where it is and is not in use."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
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
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.typing import Examples

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


def fit(tmp_path: Path, steps: int, accumulate: int = 1) -> tuple[L.Trainer, DDPM, EMA, Watch]:
    ema, watch, module = EMA(DECAY), Watch(), new_module()
    trainer = L.Trainer(
        default_root_dir=tmp_path,
        max_steps=steps,
        accelerator="cpu",
        callbacks=[watch, ema],
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
