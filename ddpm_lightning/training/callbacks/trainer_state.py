"""Questions to a trainer: has it completed an optimizer step, and which callbacks does it have?"""

from typing import TypeVar

import lightning as L

from ddpm_lightning.errors import check_whole

AnyCallback = TypeVar("AnyCallback", bound=L.Callback)


def completes_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Returns whether the batch that just ended is the last that is accumulated for an optimizer step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def is_due(trainer: L.Trainer, batch_idx: int, every_n_steps: int) -> bool:
    """Returns whether the batch that just ended completed a multiple of `every_n_steps` optimizer steps."""
    return completes_step(trainer, batch_idx) and trainer.global_step % every_n_steps == 0


def ends_after_step(trainer: L.Trainer) -> bool:
    """Returns whether training ends with this optimizer step: it is the last, or trainer.should_stop is set."""
    is_early = trainer.should_stop and trainer.global_step >= (trainer.min_steps or 0)
    return is_early or trainer.global_step >= trainer.max_steps


def check_interval(option: str, every_n_steps: int) -> int:
    """Returns the interval. Raises UserError unless it is a whole number of at least 1."""
    check_whole(f"{option}.every_n_steps", every_n_steps, 1, "give a number of optimizer steps")
    return every_n_steps


def callbacks_of(trainer: L.Trainer, kind: type[AnyCallback]) -> list[AnyCallback]:
    """Returns the trainer's callbacks of a class."""
    return [each for each in trainer.callbacks if isinstance(each, kind)]  # type: ignore[attr-defined]
