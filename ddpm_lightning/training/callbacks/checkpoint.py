"""Keeps checkpoints/last.ckpt, from which the run goes on and anyone samples."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from ddpm_lightning.training.callbacks.when import check_interval, is_due
from ddpm_lightning.training.checkpoint import CONFIG
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.phases import PHASES


def last_checkpoint(run_dir: str | Path) -> Path:
    """Where a run keeps its newest checkpoint."""
    return Path(run_dir) / "checkpoints" / "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Saves every so many optimizer steps and at the end; Lightning runs it last, so it saves what the others did."""

    def __init__(self, every_n_steps: int = 1000) -> None:
        self.every_n_steps = check_interval("callbacks.checkpoint", every_n_steps)

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        due = is_due(trainer, batch_idx, self.every_n_steps) or trainer.global_step >= trainer.max_steps
        if due and module.is_sound():
            with PHASES.timed("save"):
                trainer.save_checkpoint(last_checkpoint(trainer.default_root_dir))


def keeps_checkpoints(trainer: L.Trainer) -> bool:
    """Whether the run keeps any."""
    return any(isinstance(callback, LastCheckpoint) for callback in trainer.callbacks)  # type: ignore[attr-defined]


class SelfDescription(L.Callback):
    """Puts the run's resolved configuration, a plain dict, into every checkpoint."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG] = self.config
