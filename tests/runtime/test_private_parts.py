"""The private parts of Hydra and Lightning still do what `runtime/private_parts.py` needs them for."""

import inspect
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from lightning.pytorch.loggers import WandbLogger
from omegaconf import OmegaConf

from ddpm_lightning.configuration.checked_loader import CheckedLoader
from ddpm_lightning.runtime.private_parts import (
    ConfigLoaderImpl,
    basic_sweeper,
    composing_with,
    leave_out_anonymous,
    leave_signals_alone,
)
from tests.commands import ROOT


@pytest.mark.parametrize("method", ["load_configuration", "load_sweep_config", "get_group_options"])
def test_hydras_loader_takes_what_ours_passes_on(method: str) -> None:
    theirs, ours = (inspect.signature(getattr(each, method)) for each in (ConfigLoaderImpl, CheckedLoader))
    assert list(ours.parameters) == list(theirs.parameters)


def test_hydra_composes_with_the_loader_that_it_is_given() -> None:
    GlobalHydra.instance().clear()
    try:
        with composing_with(CheckedLoader):
            assert (
                type(Hydra.create_main_hydra2("test", create_config_search_path(None)).config_loader) is CheckedLoader
            )
        GlobalHydra.instance().clear()
        hydra = Hydra.create_main_hydra2("test", create_config_search_path(None))
        assert type(hydra.config_loader) is ConfigLoaderImpl
    finally:
        GlobalHydra.instance().clear()


@pytest.mark.parametrize("mode", [RunMode.RUN, RunMode.MULTIRUN])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("train", []),
        ("train", ["schedule=cosine", "seed=3", "hydra.run.dir=x"]),
        ("train", ["hydra.mode=RUN"]),
        ("train", ["experiment=table2_digits"]),
        ("train", ["seed=1,2"]),
        ("convert", ["source=pesser", "source.path=x"]),
        ("convert", ["source=pesser", "variance@source.variance=beta"]),
    ],
)
def test_what_is_composed_once_is_what_hydra_composes_twice(name: str, options: list[str], mode: RunMode) -> None:
    theirs, ours = (_composed(loader, name, options, mode) for loader in (ConfigLoaderImpl, CheckedLoader))
    assert ours == theirs


def _composed(loader: type[ConfigLoaderImpl], name: str, options: list[str], mode: RunMode) -> Any:
    """The configuration of a command, after Hydra asked for its mode; or the error's class."""
    GlobalHydra.instance().clear()
    try:
        with composing_with(loader):
            hydra = Hydra.create_main_hydra_file_or_module(str(ROOT / "train.py"), None, "conf", "train")
        options = list(options)
        if hydra.get_mode(name, options) is None:
            options.append(f"hydra.mode={mode.name}")
        return OmegaConf.to_container(hydra.compose_config(name, options, mode), resolve=False)
    except Exception as error:
        return isinstance(error, HydraException)
    finally:
        GlobalHydra.instance().clear()


def test_hydras_sweeper_splits_options_into_jobs_and_has_a_launcher() -> None:
    overrides = OverridesParser.create().parse_overrides(["a=1,2", "b=3"])
    sweeper = basic_sweeper()(max_batch_size=None)
    assert sweeper.split_arguments(overrides, None) == [[["a=1", "b=3"], ["a=2", "b=3"]]]
    assert sweeper.launcher is None


class Model(L.LightningModule):
    """Remembers who handles SIGTERM while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        self.handler = signal.getsignal(signal.SIGTERM)
        return self.weight + batch.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("alone", [False, True])
def test_lightning_handles_signals_unless_it_is_kept_from_it(alone: bool, tmp_path: Path) -> None:
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    trainer = L.Trainer(max_steps=1, accelerator="cpu", default_root_dir=tmp_path, enable_model_summary=False, **quiet)
    if alone:
        leave_signals_alone(trainer)
    model, before = Model(), signal.getsignal(signal.SIGTERM)
    trainer.fit(model, torch.utils.data.DataLoader(torch.zeros(2)))  # type: ignore[arg-type]
    assert (model.handler == before) is alone


def test_lightning_passes_anonymous_to_wandb_unless_it_is_left_out(tmp_path: Path) -> None:
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    assert "anonymous" in logger._wandb_init
    leave_out_anonymous(logger)
    assert "anonymous" not in logger._wandb_init
