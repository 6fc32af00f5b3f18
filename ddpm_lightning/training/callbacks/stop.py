"""Stops a run after the current step, on a signal or a time limit; records that a callback ended the training."""

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, Timer

from ddpm_lightning.runtime.run_files.run_state import ENDED_EARLY
from ddpm_lightning.runtime.signals import STOP, Interrupted
from ddpm_lightning.training.callbacks.checkpoints import keeps_checkpoints, last_checkpoint
from ddpm_lightning.training.callbacks.trainer_state import callbacks_of, completes_step, ends_after_step
from ddpm_lightning.training.module import DDPM


class EarlyEnd(L.Callback):
    """Records in the checkpoint that a callback, such as EarlyStopping, ended the training.

    Args:
        has_ended: whether the resumed checkpoint records that. The run is then measured, but does not train further.
    """

    def __init__(self, has_ended: bool) -> None:
        self.has_ended = has_ended

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.has_ended

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if ended_early(trainer):
            checkpoint[ENDED_EARLY] = True


def ended_early(trainer: L.Trainer) -> bool:
    """Returns whether a callback has ended the training before its last step. A time limit does not count."""
    if trainer.global_step >= trainer.max_steps or not ends_after_step(trainer):
        return False
    remaining = (each.time_remaining() for each in callbacks_of(trainer, Timer))
    return all(seconds is None or seconds > 0 for seconds in remaining)


class StopOnSignal(Checkpoint):
    """Raises Interrupted on all processes after the same step, if one of them received a signal to stop.

    It is a `Checkpoint` so that Lightning runs it after all other callbacks.
    """

    def __init__(self) -> None:
        self.in_training = False

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        STOP.may_interrupt = trainer.world_size == 1

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.in_training = True

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        if completes_step(trainer, batch_idx):  # accumulated gradients are not saved
            stop_if_asked(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.in_training = False

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        stop_if_asked(trainer)

    def on_exception(self, trainer: L.Trainer, module: DDPM, exception: BaseException) -> None:  # type: ignore[override]
        # The step is complete. A callback that was interrupted after it acts when the run resumes.
        if isinstance(exception, Interrupted) and self.in_training and module.is_sound() and keeps_checkpoints(trainer):
            trainer.save_checkpoint(last_checkpoint(trainer.default_root_dir))


class TimeLimit(Timer):
    """Ends the training of one command after a time limit; the same command then resumes for as long again.

    Lightning's `Timer` keeps the elapsed time in checkpoints, so that a resumed run would end at once. This one does
    not.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}


def stop_if_asked(trainer: L.Trainer) -> None:
    """Raises Interrupted on all processes if one of them received a signal to stop.

    The exception carries that signal, because Slurm's warning signals put the job back into the queue and the first
    process may not have received it yet.
    """
    asked = STOP.signum or 0
    if trainer.world_size > 1:  # a single process does not wait for its device
        signum = torch.tensor(asked, device=trainer.strategy.root_device)
        asked = int(cast(torch.Tensor, trainer.strategy.reduce(signum, reduce_op="max")))
    if asked:
        raise Interrupted(asked)
