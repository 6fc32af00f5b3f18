"""Which step of a run is the best by a logged number."""

import logging
import math
from typing import Any

import lightning as L

from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)

BEST = "best.ckpt"


class Best:
    """Remembers the lowest value of a metric. metric: its name among what is logged; None watches nothing.

    record: the lowest value so far, and its step. heard: a value that nobody has compared with it yet.
    """

    def __init__(self, metric: str | None) -> None:
        self.metric = metric
        self.record: dict[str, Any] = {}
        self.heard: float | None = None
        self.is_known = metric is None

    def watch(self, metrics: dict[str, float]) -> None:
        """Hears what was logged."""
        if self.metric in metrics:
            self.heard, self.is_known = metrics[self.metric], True

    def is_here(self, trainer: L.Trainer, module: DDPM) -> bool:
        """Whether the step that the trainer has made is the best so far. Asked on every process after each step."""
        if self.heard is None:
            return False
        value, self.heard = trainer.strategy.broadcast(self.heard), None
        if not (value < self.record.get("value", math.inf) and module.is_sound()):
            return False
        self.record = {"metric": self.metric, "value": value, "step": trainer.global_step, "checkpoint": BEST}
        return True

    def state_dict(self) -> dict[str, Any]:
        return {} if self.metric is None else {"best": self.metric, "record": self.record, "heard": self.heard}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["best"] == self.metric:
            self.record, self.heard = dict(state_dict["record"]), state_dict["heard"]

    def warn_if_unknown(self, trainer: L.Trainer) -> None:
        """Says once that no such number has been logged, and which ones have."""
        if not self.is_known:
            self.is_known = True
            log.warning(
                "callbacks.checkpoint.best=%s has not been logged so far, and best.ckpt waits for it; logged were: %s",
                self.metric,
                ", ".join(sorted(trainer.callback_metrics)) or "none",
            )
