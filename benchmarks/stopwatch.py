"""Times each step of a fit, and after it a step of another side."""

import time
from typing import Any

import lightning as L

from benchmarks.device import finish
from benchmarks.measure import Side, seconds


class Enough(Exception):  # no error
    """Raised to end a fit when the stopwatch has enough steps, without final pictures or checkpoints."""


class Stopwatch(L.Callback):
    """Times steps as the last callback.

    fit: seconds from the end of its own work to the end of the next step. bare: seconds of the other side, which it
    runs in between.
    """

    def __init__(self, other: Side, rounds: int) -> None:
        self.other, self.rounds = other, rounds
        self.fit: list[float] = []
        self.bare: list[float] = []

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.resumed = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        finish()
        self.fit.append(time.perf_counter() - self.resumed)
        self.bare.append(seconds(self.other))
        if len(self.fit) == self.rounds:
            raise Enough
        self.resumed = time.perf_counter()
