"""Says in a sentence that a run cannot go on from a checkpoint, where Lightning would fail in its own words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch

from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.training.manners import relative
from ddpm_lightning.training.signals import Interrupted


class FirstStep(L.Callback):
    """Knows whether this process has made a step."""

    def __init__(self) -> None:
        self.made = False

    def on_train_batch_end(self, *_: Any) -> None:
        self.made = True


@contextmanager
def restoring(trainer: L.Trainer, checkpoint: Path | None) -> Iterator[None]:
    """Inside, a failure before the first step is ended is that of the checkpoint, if there is one."""
    first_step = FirstStep()
    trainer.callbacks.append(first_step)  # type: ignore[attr-defined]  # the last, for others fail at a step's end
    try:
        yield
    except (Interrupted, UserError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # states of any shape can make optimizers and callbacks raise nearly anything
        if checkpoint is None or first_step.made:
            raise
        raise UserError(
            f"{relative(checkpoint)} cannot be gone on from: what it holds does not fit ({type(error).__name__}: "
            f"{shown(error)}); begin anew in another hydra.run.dir="
        ) from error
