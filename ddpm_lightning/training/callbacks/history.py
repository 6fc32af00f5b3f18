"""Records what a run's configuration does not say: the weights it started from, and keys that a resume changed."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning as L

from ddpm_lightning.training.same_run import Difference

log = logging.getLogger(__name__)

HISTORY = "history"
"""The key of the events in a checkpoint and in results.json."""


class History(L.Callback):
    """Keeps the events of a run in its checkpoints, each with its step.

    changed: the keys that differ from the checkpoint that is resumed. events: of a new run, what came before its
    first step.
    """

    def __init__(self, changed: Sequence[Difference] = (), events: Sequence[dict[str, Any]] = ()) -> None:
        self.changed = changed
        self.events = list(events)

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.events = list(checkpoint.get(HISTORY, []))

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for change in self.changed:
            log.info("From step %d on with another %s", trainer.global_step, change)
            self.events.append({"step": trainer.global_step, **change._asdict()})

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.events:
            checkpoint[HISTORY] = self.events


def history_of(trainer: L.Trainer) -> dict[str, Any]:
    """The events as results.json has them; {} where there are none."""
    found = next((c.events for c in trainer.callbacks if isinstance(c, History)), [])  # type: ignore[attr-defined]
    return {HISTORY: found} if found else {}
