"""Keeps checkpoints/last.ckpt, from which the run goes on and anyone samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from ddpm_lightning.training.callbacks.when import check_interval, ends_here, is_due, stepped
from ddpm_lightning.training.checkpoint import CONFIG
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.phases import PHASES
from ddpm_lightning.training.text_file import write_whole


def last_checkpoint(run_dir: str | Path) -> Path:
    """Where a run keeps its newest checkpoint."""
    return Path(run_dir) / "checkpoints" / "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Saves every so many optimizer steps and at the end, early or not; Lightning runs it last, so it saves what the
    others did."""

    def __init__(self, every_n_steps: int = 1000) -> None:
        self.every_n_steps = check_interval("callbacks.checkpoint", every_n_steps)
        self.saved_at = -1
        self.stop_is_waiting = False

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        self.stop_is_waiting = self.stop_is_waiting or trainer.should_stop
        trainer.should_stop = self.stop_is_waiting and stepped(trainer, batch_idx)  # for gradients are not saved
        if is_due(trainer, batch_idx, self.every_n_steps) or ends_here(trainer):
            self._save(trainer, module)

    def on_train_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if self.saved_at != trainer.global_step:  # what ended the training did so after this had its turn
            self._save(trainer, module)

    def _save(self, trainer: L.Trainer, module: DDPM) -> None:
        if module.is_sound():
            with PHASES.timed("save"):
                trainer.save_checkpoint(last_checkpoint(trainer.default_root_dir))
            self.saved_at = trainer.global_step


def keeps_checkpoints(trainer: L.Trainer) -> bool:
    """Whether the run keeps any."""
    return any(isinstance(callback, LastCheckpoint) for callback in trainer.callbacks)  # type: ignore[attr-defined]


class SelfDescription(L.Callback):
    """Puts the run's resolved configuration, a plain dict, into every checkpoint, and what was typed into .hydra.

    typed: the files of .hydra by their names. They are written when training or testing begins, so that a command which
    is refused before leaves those of the run that is there.
    """

    def __init__(self, config: dict[str, Any], typed: Mapping[str, str]) -> None:
        self.config = config
        self.typed = typed

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._write(trainer)

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._write(trainer)  # of a run that was trained before and is measured further

    def _write(self, trainer: L.Trainer) -> None:
        folder = Path(trainer.default_root_dir) / ".hydra"
        if trainer.is_global_zero and self.typed:
            folder.mkdir(exist_ok=True)
            for name, text in self.typed.items():
                write_whole(folder / name, text)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG] = self.config
