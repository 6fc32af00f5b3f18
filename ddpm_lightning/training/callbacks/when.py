"""When a callback acts: after optimizer steps, which with gradient accumulation are fewer than batches."""

from abc import abstractmethod
from typing import Any

import lightning as L

from ddpm_lightning.errors import check_whole
from ddpm_lightning.training.module import DDPM


def stepped(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the batch that just ended made the optimizer step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def is_due(trainer: L.Trainer, batch_idx: int, every_n_steps: int) -> bool:
    """Whether the batch that just ended completed a multiple of `every_n_steps` optimizer steps."""
    return stepped(trainer, batch_idx) and trainer.global_step % every_n_steps == 0


def check_interval(owner: str, every_n_steps: int) -> int:
    """The interval itself. Raises UserError where it is none."""
    check_whole(f"{owner}.every_n_steps", every_n_steps, 1, "give a number of optimizer steps")
    return every_n_steps


class Periodic(L.Callback):
    """Acts every so many optimizer steps, and at the end if it has not just done so.

    records: what it found last, by name, for results.json.
    """

    def __init__(self, owner: str, every_n_steps: int) -> None:
        self.every_n_steps = check_interval(owner, every_n_steps)
        self.acted_at = -1
        self.records: dict[str, dict[str, Any]] = {}

    @abstractmethod
    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        """What is to be done, on every process."""

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        if is_due(trainer, batch_idx, self.every_n_steps):
            self._act(trainer, module)

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        # Not on_train_end: a run that was stopped here has no step left to train, and still wants its numbers.
        if self.acted_at != trainer.global_step:
            self._act(trainer, module)

    def _act(self, trainer: L.Trainer, module: DDPM) -> None:
        self.acted_at = trainer.global_step
        self.act(trainer, module)

    def tell(self, trainer: L.Trainer, records: dict[str, dict[str, Any]]) -> None:
        """Logs the values, and keeps the records."""
        self.records |= records
        self.log_metrics(trainer, {name: record["value"] for name, record in records.items()})

    def log_metrics(self, trainer: L.Trainer, metrics: dict[str, float]) -> None:
        """Tells every logger, at the optimizer step."""
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
