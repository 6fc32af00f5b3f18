"""Ends a run that was asked to stop, or whose time is over, after the step; records that a callback ended it."""

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, Timer

from ddpm_lightning.runtime.signals import STOP, Interrupted
from ddpm_lightning.training.callbacks.checkpoints import keeps_checkpoints, last_checkpoint
from ddpm_lightning.training.callbacks.optimizer_steps import ends_here, stepped
from ddpm_lightning.training.module import DDPM

ENDED_EARLY = "ended_early"
"""The key of checkpoints and of results.json which says that a callback ended the training before its last step."""


class EarlyEnd(L.Callback):
    """Records in the checkpoint that a callback, such as EarlyStopping, ended the training.

    has_ended: whether the run that is resumed was ended so. It is then measured, but trains no further.
    """

    def __init__(self, has_ended: bool) -> None:
        self.has_ended = has_ended

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.has_ended

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if ended_early(trainer):
            checkpoint[ENDED_EARLY] = True


def ended_early(trainer: L.Trainer) -> bool:
    """Whether a callback ends the training before its last step. One that only limits the time does not count."""
    if trainer.global_step >= trainer.max_steps or not ends_here(trainer):
        return False
    timers = [each for each in trainer.callbacks if isinstance(each, Timer)]  # type: ignore[attr-defined]
    return all(left is None or left > 0 for left in (each.time_remaining() for each in timers))


class StopOnSignal(Checkpoint):
    """A Checkpoint only so that Lightning runs it last. All processes stop at the same place."""

    def __init__(self) -> None:
        self.in_training = False

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        STOP.may_interrupt = trainer.world_size == 1

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.in_training = True

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        if stepped(trainer, batch_idx):  # not between batches that are accumulated, for gradients are not saved
            stop_if_asked(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.in_training = False

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        stop_if_asked(trainer)

    def on_exception(self, trainer: L.Trainer, module: DDPM, exception: BaseException) -> None:  # type: ignore[override]
        # The step is done; what was due after it, and was broken off, is done when the run goes on.
        if isinstance(exception, Interrupted) and self.in_training and module.is_sound() and keeps_checkpoints(trainer):
            trainer.save_checkpoint(last_checkpoint(trainer.default_root_dir))


class TimeLimit(Timer):
    """Ends the training of one command after this time. The same command trains for as long again, so that jobs with a
    limit can follow each other; Lightning's own would count what the earlier ones took, and never get further."""

    def state_dict(self) -> dict[str, Any]:
        return {}


def stop_if_asked(trainer: L.Trainer) -> None:
    """Raises Interrupted on all processes if one of them was asked to stop; by its signal, for only a warning puts the
    job into the queue again, and it need not have come to the first process yet."""
    asked = STOP.signum or 0
    if trainer.world_size > 1:  # one process alone does not wait for its device
        signum = torch.tensor(asked, device=trainer.strategy.root_device)
        asked = int(cast(torch.Tensor, trainer.strategy.reduce(signum, reduce_op="max")))
    if asked:
        raise Interrupted(asked)
