"""Finds the checkpoint that a run resumes, and logs how to resume an interrupted run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

from ddpm_lightning.runtime.command_line import option, relative
from ddpm_lightning.runtime.run_directory import in_sweep, resume_option
from ddpm_lightning.runtime.run_files.run_state import ENDED_EARLY
from ddpm_lightning.runtime.signals import STOP, Interrupted
from ddpm_lightning.training.callbacks.checkpoints import last_checkpoint
from ddpm_lightning.training.callbacks.stop import ended_early
from ddpm_lightning.training.checkpoint import existing_checkpoints, newest_undamaged
from ddpm_lightning.training.run_results import reason_of_divergence
from ddpm_lightning.training.same_run import Difference, allows_more_training, check_same_run

log = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """The state from which a run starts.

    Args:
        path: The checkpoint that is resumed; None for a new run.
        changed: The options that differ from those in the checkpoint.
        ended_at: The step at which a callback ended the run, if the run trains no further; else None.
    """

    path: Path | None
    changed: list[Difference]
    ended_at: int | None


def find_resumable(config: dict[str, Any]) -> Resumed:
    """Returns the checkpoint in the run directory, and how this command's options differ from it.

    Raises:
        UserError: The run directory holds another run.
    """
    found = newest_undamaged(last_checkpoint(config["run_dir"]))
    if found is None:
        return Resumed(None, [], None)
    path, checkpoint = found
    changed = check_same_run(checkpoint, config, path)
    has_ended = ENDED_EARLY in checkpoint and not any(map(allows_more_training, changed))
    return Resumed(path, changed, checkpoint["global_step"] if has_ended else None)


def divergence_in_sweep(config: dict[str, Any]) -> str | None:
    """Returns why this run diverged; None if it did not, or if it is not part of a sweep.

    A sweep counts divergence as a result, so it does not train a diverged run again.
    """
    return reason_of_divergence(config) if in_sweep() else None


@contextmanager
def telling_how_to_resume(trainer: L.Trainer) -> Iterator[None]:
    """Catches the signals that ask to stop, and logs how to resume the run when it ends because of one."""
    with STOP.listening():
        try:
            yield
        except Interrupted as stop:
            log_how_to_resume(trainer, str(stop))
            raise


def log_shortened(trainer: L.Trainer) -> None:
    """Logs why training ended before its last step, if it did: by a callback, or by trainer.max_time."""
    if ended_early(trainer):
        log.info(
            "A callback ended the training at step %d of %d, so the run is finished; with a larger trainer.max_steps, "
            "or without that callback, the same command trains further",
            trainer.global_step,
            trainer.max_steps,
        )
    elif trainer.global_step < trainer.max_steps:
        log_how_to_resume(trainer, "trainer.max_time")


def log_how_to_resume(trainer: L.Trainer, cause: str) -> None:
    """Logs where the run stopped, and the option that resumes it."""
    run_dir = Path(trainer.default_root_dir)
    name, folder = resume_option(run_dir)
    found = existing_checkpoints(last_checkpoint(run_dir))
    log.info(
        "Stopped by %s at step %d; the same options with %s resume from %s",
        cause,
        trainer.global_step,
        option(name, relative(folder)),
        relative(found[0]) if found else "the start, because there is no checkpoint yet",
    )
