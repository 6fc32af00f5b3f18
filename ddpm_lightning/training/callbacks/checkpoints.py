"""Saves checkpoints/last.ckpt, from which a run resumes, and on request the best checkpoint and periodic ones."""

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
from ddpm_lightning.training.callbacks.trainer_state import (
    callbacks_of,
    check_interval,
    completes_step,
    ends_after_step,
    is_due,
)
from ddpm_lightning.training.checkpoint import CONFIG, LAST
from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)

BEST = "best.ckpt"


class Best:
    """Tracks the lowest value of a logged metric.

    Args:
        metric: its name among the logged numbers; None tracks nothing.

    Attributes:
        record: the lowest value so far, its step and the name of its checkpoint; {} before the first value.
        latest: the newest logged value that has not been compared with the record yet.
        is_logged: whether the metric has been logged since the command started, or a warning said that it has not.
    """

    def __init__(self, metric: str | None) -> None:
        self.metric = metric
        self.record: dict[str, Any] = {}
        self.latest: float | None = None
        self.is_logged = metric is None

    def watch(self, metrics: dict[str, float]) -> None:
        """Takes the metric from the logged numbers, if it is among them."""
        if self.metric in metrics:
            self.latest, self.is_logged = metrics[self.metric], True

    def is_best_now(self, trainer: L.Trainer, module: DDPM) -> bool:
        """Returns whether the current step has the lowest value so far. Every process calls it after each step."""
        if self.latest is None:
            return False
        value, self.latest = trainer.strategy.broadcast(self.latest), None
        if not (value < self.record.get("value", math.inf) and module.is_sound()):
            return False
        self.record = {"metric": self.metric, "value": value, "step": trainer.global_step, "checkpoint": BEST}
        return True

    def state_dict(self) -> dict[str, Any]:
        return {} if self.metric is None else {"best": self.metric, "record": self.record, "heard": self.latest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["best"] == self.metric:
            self.record, self.latest = dict(state_dict["record"]), state_dict["heard"]

    def warn_if_unknown(self, trainer: L.Trainer) -> None:
        """Warns once if the metric has not been logged, and names the numbers that have been."""
        if not self.is_logged:
            self.is_logged = True
            log.warning(
                "callbacks.checkpoint.best=%s has not been logged so far, so there is no best.ckpt; logged were: %s",
                self.metric,
                ", ".join(sorted(trainer.callback_metrics)) or "none",
            )


def last_checkpoint(run_dir: str | Path) -> Path:
    """Returns the path of the checkpoint from which a run resumes."""
    return checkpoint_of(run_dir, LAST)


def checkpoint_of(run_dir: str | Path, name: str) -> Path:
    """Returns the path of a run's checkpoint by its file name."""
    return Path(run_dir) / "checkpoints" / name


class LastCheckpoint(Checkpoint):
    """Saves checkpoints/last.ckpt every `every_n_steps` optimizer steps and at the end of training, early or not.

    It is a `Checkpoint` so that Lightning runs it after other callbacks and it saves their current state. Weights that
    are NaN or infinite are never saved.

    Args:
        every_n_steps: optimizer steps between two saves, at least 1.
        keep_every: optimizer steps between two checkpoints that are never overwritten, such as step_0001000.ckpt; None
            keeps none.
        best: the name of a logged number, of which lower is better. The checkpoint with its lowest value is kept as
            best.ckpt. None keeps none.

    Raises:
        UserError: if a number of steps is below 1.
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
        if self.best.is_best_now(trainer, module):  # measured after the last save, before the interruption
            self._save(trainer, module, [BEST])

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        self.stop_is_waiting = self.stop_is_waiting or trainer.should_stop
        # Accumulated gradients are not saved, so training stops after the step.
        trainer.should_stop = self.stop_is_waiting and completes_step(trainer, batch_idx)
        self._save(trainer, module, list(self._due(trainer, module, batch_idx)))

    def on_train_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if self.saved_at != trainer.global_step:  # a later callback ended the training
            self._save(trainer, module, [LAST])

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if self.best.is_best_now(trainer, module):
            self._save(trainer, module, [BEST, LAST])

    def _due(self, trainer: L.Trainer, module: DDPM, batch_idx: int) -> Iterator[str]:
        if self.keep_every is not None and is_due(trainer, batch_idx, self.keep_every):
            yield f"step_{trainer.global_step:07d}.ckpt"
        if self.best.is_best_now(trainer, module):
            yield BEST
        if is_due(trainer, batch_idx, self.every_n_steps) or ends_after_step(trainer):
            yield LAST  # last: a run that is killed before it saves the others again

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
    """Returns whether the run saves checkpoints."""
    return bool(callbacks_of(trainer, LastCheckpoint))


def best_record(trainer: L.Trainer) -> dict[str, Any]:
    """Returns the record of best.ckpt as {"best": record} for results.json, or {} if there is no best.ckpt."""
    return next(({"best": each.best.record} for each in callbacks_of(trainer, LastCheckpoint) if each.best.record), {})


class SelfDescription(L.Callback):
    """Stores the run's configuration in every checkpoint and in the run directory's .hydra/.

    The files are written when training or testing begins. A command that is refused before then leaves them unchanged.

    Args:
        config: the resolved configuration as a plain dict.
        typed: the contents of the files of .hydra/ by their names.
    """

    def __init__(self, config: dict[str, Any], typed: Mapping[str, str]) -> None:
        self.config = config
        self.typed = typed

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._write(trainer)

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._write(trainer)  # a trained run that is measured further has no training

    def _write(self, trainer: L.Trainer) -> None:
        folder = Path(trainer.default_root_dir) / ".hydra"
        if trainer.is_global_zero and self.typed:
            folder.mkdir(exist_ok=True)
            for name, text in self.typed.items():
                write_text(folder / name, text)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG] = self.config
