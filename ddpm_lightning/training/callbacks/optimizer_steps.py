"""When an optimizer step ends: with gradient accumulation, not with every batch."""

import lightning as L

from ddpm_lightning.errors import check_whole


def stepped(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the batch that just ended made the optimizer step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def is_due(trainer: L.Trainer, batch_idx: int, every_n_steps: int) -> bool:
    """Whether the batch that just ended completed a multiple of `every_n_steps` optimizer steps."""
    return stepped(trainer, batch_idx) and trainer.global_step % every_n_steps == 0


def ends_here(trainer: L.Trainer) -> bool:
    """Whether training ends with this optimizer step: all are made, or something has set trainer.should_stop."""
    is_early = trainer.should_stop and trainer.global_step >= (trainer.min_steps or 0)
    return is_early or trainer.global_step >= trainer.max_steps


def check_interval(owner: str, every_n_steps: int) -> int:
    """The interval itself. Raises UserError where it is none."""
    check_whole(f"{owner}.every_n_steps", every_n_steps, 1, "give a number of optimizer steps")
    return every_n_steps
