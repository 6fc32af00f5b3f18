"""Keeps checkpoints/last.ckpt, from which a run resumes, and on request the best one and some for good."""

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.errors import check_whole
from ddpm_lightning.runtime.phases import PHASES
from ddpm_lightning.training.callbacks.optimizer_steps import check_interval, ends_here, is_due, stepped
from ddpm_lightning.training.checkpoint import CONFIG, LAST
from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)

BEST = "best.ckpt"


class Best:
    """Remembers the lowest value of a metric. metric: its name among what is logged; None watches nothing.

    record: the lowest value so far, and its step. heard: a value that nobody has compared with it yet.
    """

    def __init__(self, metric: str | None) -> None:
        self.metric = metric
        self.record: dict[str, Any] = {}
        self.heard: float | None = None
        self.is_known = metric is None

    def watch(self, metrics: dict[str, float]) -> None:
        """Hears what was logged."""
        if self.metric in metrics:
            self.heard, self.is_known = metrics[self.metric], True

    def is_here(self, trainer: L.Trainer, module: DDPM) -> bool:
        """Whether the step that the trainer has made is the best so far. Asked on every process after each step."""
        if self.heard is None:
            return False
        value, self.heard = trainer.strategy.broadcast(self.heard), None
        if not (value < self.record.get("value", math.inf) and module.is_sound()):
            return False
        self.record = {"metric": self.metric, "value": value, "step": trainer.global_step, "checkpoint": BEST}
        return True

    def state_dict(self) -> dict[str, Any]:
        return {} if self.metric is None else {"best": self.metric, "record": self.record, "heard": self.heard}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["best"] == self.metric:
            self.record, self.heard = dict(state_dict["record"]), state_dict["heard"]

    def warn_if_unknown(self, trainer: L.Trainer) -> None:
        """Says once that no such number has been logged, and which ones have."""
        if not self.is_known:
            self.is_known = True
            log.warning(
                "callbacks.checkpoint.best=%s has not been logged so far, and best.ckpt waits for it; logged were: %s",
                self.metric,
                ", ".join(sorted(trainer.callback_metrics)) or "none",
            )


def last_checkpoint(run_dir: str | Path) -> Path:
    """Where a run keeps its newest checkpoint."""
    return checkpoint_of(run_dir, LAST)


def checkpoint_of(run_dir: str | Path, name: str) -> Path:
    """Where a run keeps the checkpoint of this name."""
    return Path(run_dir) / "checkpoints" / name


class LastCheckpoint(Checkpoint):
    """Saves every so many optimizer steps and at the end, early or not; Lightning runs it last, so it saves what the
    others did.

    keep_every: after how many steps a checkpoint is kept for good, as step_0001000.ckpt. best: the name of a logged
    number, lower is better; the checkpoint with its lowest value is kept as best.ckpt.
    """

    def __init__(self, every_n_steps: int = 1000, keep_every: int | None = None, best: str | None = None) -> None:
        self.every_n_steps = check_interval("callbacks.checkpoint", every_n_steps)
        if keep_every is not None:
            check_whole("callbacks.checkpoint.keep_every", keep_every, 1, "give a number of optimizer steps, or null")
        self.keep_every = keep_every
        self.best = Best(best)
        self.saved_at = -1
        self.stop_is_waiting = False

    def state_dict(self) -> dict[str, Any]:
        return self.best.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best.load_state_dict(state_dict)

    def on_train_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if self.best.is_here(trainer, module):  # measured just before the run was stopped, or just now
            self._save(trainer, module, [BEST])

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        self.stop_is_waiting = self.stop_is_waiting or trainer.should_stop
        trainer.should_stop = self.stop_is_waiting and stepped(trainer, batch_idx)  # for gradients are not saved
        self._save(trainer, module, list(self._due(trainer, module, batch_idx)))

    def on_train_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if self.saved_at != trainer.global_step:  # what ended the training did so after this had its turn
            self._save(trainer, module, [LAST])

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if self.best.is_here(trainer, module):
            self._save(trainer, module, [BEST, LAST])

    def _due(self, trainer: L.Trainer, module: DDPM, batch_idx: int) -> Iterator[str]:
        if self.keep_every is not None and is_due(trainer, batch_idx, self.keep_every):
            yield f"step_{trainer.global_step:07d}.ckpt"
        if self.best.is_here(trainer, module):
            yield BEST
        if is_due(trainer, batch_idx, self.every_n_steps) or ends_here(trainer):
            yield LAST  # after the others, so that a run which is killed between them makes them again

    def _save(self, trainer: L.Trainer, module: DDPM, names: list[str]) -> None:
        if not names or not module.is_sound():
            return
        with PHASES.timed("save"):
            for name in names:
                trainer.save_checkpoint(checkpoint_of(trainer.default_root_dir, name))
        if LAST in names:
            self.saved_at = trainer.global_step
            self.best.warn_if_unknown(trainer)


def keeps_checkpoints(trainer: L.Trainer) -> bool:
    """Whether the run keeps any."""
    return any(isinstance(callback, LastCheckpoint) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def best_kept(trainer: L.Trainer) -> dict[str, Any]:
    """What best.ckpt is the best of, by "best"; empty where the run keeps none."""
    found = [c.best.record for c in trainer.callbacks if isinstance(c, LastCheckpoint)]  # type: ignore[attr-defined]
    return {"best": found[0]} if found and found[0] else {}


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
                write_text(folder / name, text)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG] = self.config
