"""Says in a sentence that a run cannot resume from a checkpoint, where Lightning would fail in its own words."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.training.manners import relative
from ddpm_lightning.training.signals import Interrupted

LOADING = {"load_state_dict", "on_load_checkpoint", "restore_training_state", "resume_start", "resume_end"}
"""Functions that read what a checkpoint holds."""

OURS = tuple(f"ddpm_lightning.training.{name}" for name in ("callbacks", "module", "phases"))

STATEFUL = ("lightning.pytorch.loops", "torch.optim", *OURS)
"""Modules that use it for the first time at the first step."""


class FirstStep(L.Callback):
    """Knows whether this process has made a step."""

    def __init__(self) -> None:
        self.made = False

    def on_train_batch_end(self, *_: Any) -> None:
        self.made = True


@contextmanager
def restoring(trainer: L.Trainer, checkpoint: Path | None) -> Iterator[None]:
    """Inside, what fails before the first step because of the checkpoint is told as that."""
    first_step = FirstStep()
    trainer.callbacks.append(first_step)  # type: ignore[attr-defined]  # the last, for others fail at a step's end
    try:
        yield
    except (Interrupted, UserError, OSError, torch.OutOfMemoryError, MisconfigurationException):
        raise
    except Exception as error:  # states of any shape can make optimizers and callbacks raise nearly anything
        if checkpoint is None or first_step.made or not is_of_state(error):
            raise
        raise UserError(
            f"{relative(checkpoint)} cannot be resumed from: what it holds does not fit ({type(error).__name__}: "
            f"{shown(error)}); begin anew in another hydra.run.dir="
        ) from error


def is_of_state(error: BaseException) -> bool:
    """Whether the error was raised while a checkpoint was loaded, or by a line that uses what was loaded: not by data,
    networks, drivers or callbacks of the user's own, which fail without a checkpoint, too."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = {frame.f_code.co_name for frame in frames}
    return bool(names & LOADING) or frames[-1].f_globals["__name__"].startswith(STATEFUL)
