"""Every option of Lightning's Trainer works, or is refused with the option that does it here."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import OmegaConf

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.devices import check_accelerator
from ddpm_lightning.training.trainer import OWN_OPTIONS, PASSED_ON, REFUSED, check_trainer, make_trainer
from tests.commands import SMALL, error_of, train
from tests.conftest import ROOT

EFFECTS: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "accumulate_grad_batches": (4, lambda trainer: trainer.accumulate_grad_batches == 4),
    "devices": (2, lambda trainer: trainer.num_devices == 2),
    "num_nodes": (2, lambda trainer: trainer.world_size == 2),
    "strategy": ("ddp", lambda trainer: isinstance(trainer.strategy, DDPStrategy)),
    "sync_batchnorm": (True, lambda trainer: isinstance(trainer.strategy._layer_sync, TorchSyncBatchNorm)),
    "min_steps": (3, lambda trainer: trainer.min_steps == 3),
    "deterministic": (True, lambda _: torch.are_deterministic_algorithms_enabled()),
    "benchmark": (True, lambda _: torch.backends.cudnn.benchmark),
    "inference_mode": (False, lambda trainer: not trainer.test_loop.inference_mode),
    "detect_anomaly": (True, lambda trainer: trainer._detect_anomaly),
    "profiler": ("simple", lambda trainer: isinstance(trainer.profiler, SimpleProfiler)),
}
"""What shows that an option is obeyed."""


def test_every_option_of_lightnings_trainer_is_classified() -> None:
    options = set(inspect.signature(L.Trainer).parameters)
    assert options == (OWN_OPTIONS - {"_target_", "run_dir"}) | PASSED_ON | set(REFUSED)
    assert not (OWN_OPTIONS | PASSED_ON) & set(REFUSED)
    assert EFFECTS.keys() == PASSED_ON


@pytest.mark.parametrize("option", sorted(PASSED_ON))
def test_an_option_that_is_passed_on_works(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value, shows = EFFECTS[option]
    required = {"strategy": "ddp"} if option in ("devices", "num_nodes", "sync_batchnorm") else {}
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    check_trainer({"trainer": {option: value, **required}})
    try:
        options = {"devices": 1, "logger": False, "accelerator": "cpu", **required, option: value}
        trainer = make_trainer(run_dir=str(tmp_path), max_steps=5, **options)
        assert shows(trainer)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.autograd.set_detect_anomaly(False)


@pytest.fixture(scope="module")
def composed() -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", ["logger=wandb_offline"], return_hydra_config=True)


@pytest.mark.parametrize("option", sorted(REFUSED))
def test_an_option_without_effect_is_refused_and_the_option_that_has_it_exists(option: str, composed: Any) -> None:
    with pytest.raises(UserError, match=rf"trainer\.{option} has no effect here; ") as refused:
        check_trainer({"trainer": {option: 1}})
    for key in re.findall(r"\b(?:trainer|module|callbacks|logger|hydra)\.[a-z][a-z_.]+", str(refused.value)):
        known = key.startswith("callbacks.summary") or key.removeprefix("trainer.") in {*PASSED_ON, option}
        assert known or OmegaConf.select(composed, key, default="none") != "none", key
    for group, name in re.findall(r"\b(experiment|debug|logger)=(\w+)", str(refused.value)):
        assert (ROOT / "conf" / group / f"{name}.yaml").is_file()


def test_an_unknown_option_is_told_with_the_near_ones() -> None:
    with pytest.raises(UserError, match=r"trainer\.max_step is no option .*; did you mean trainer\.max_steps or "):
        check_trainer({"trainer": {"max_step": 1}})


@pytest.mark.parametrize("option", sorted(REFUSED))
def test_a_misspelt_option_is_not_told_with_one_that_is_refused(option: str) -> None:
    with pytest.raises(UserError, match=rf"trainer\.{option[:-1]} is no option of this command; ") as refused:
        check_trainer({"trainer": {option[:-1]: 1}})
    assert not re.search(rf"\btrainer\.({'|'.join(REFUSED)})\b", str(refused.value))


def test_what_the_profiler_and_the_summary_say_can_be_read(tmp_path: Path) -> None:
    """Lightning says it by logging, which is quiet otherwise."""
    summary = "+callbacks.summary._target_=lightning.pytorch.callbacks.ModelSummary"
    train(tmp_path, "+trainer.profiler=simple", summary, "callbacks.grid=null", "callbacks.strip=null")
    said = (tmp_path / "train.log").read_text()
    assert "run_training_batch" in said
    assert "Trainable params" in said


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("trainer.strategy=fsdp", "trainer.strategy=fsdp divides the weights among the processes"),
        ("+trainer.gradient_clip_val=0.5", "use module.max_grad_norm"),
        ("+trainer.callbacks=[]", "trainer.callbacks has no effect here"),
        ("+trainer.logger=false", "trainer.logger has no effect here"),
        ("+module.sampler=1", "module.sampler follows from the rest of the configuration"),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu is none of auto, cpu, gpu, cuda"),
    ],
)
def test_options_that_could_not_work(
    mistake: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in " ".join(error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, mistake).split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there_is_told_in_words(accelerator: str) -> None:
    with pytest.raises(
        UserError, match=f"trainer.accelerator={accelerator} needs a GPU .* use trainer.accelerator=cpu"
    ):
        check_accelerator(accelerator)
