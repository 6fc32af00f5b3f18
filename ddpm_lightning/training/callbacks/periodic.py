"""Callbacks that act every `every_n_steps` optimizer steps."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L

from ddpm_lightning.errors import check_boolean
from ddpm_lightning.runtime.phases import PHASES
from ddpm_lightning.training.callbacks.ema import averaged, keeps_average
from ddpm_lightning.training.callbacks.optimizer_steps import check_interval, is_due
from ddpm_lightning.training.loggers.showing import log_metrics
from ddpm_lightning.training.module import DDPM


class Recurrent(L.Callback):
    """Acts every so many optimizer steps. A checkpoint holds when it acted last, so that what was due at the
    checkpoint's step, and was not done, is done when the run goes on. owner: how options call it."""

    phase = "draw"
    """Of what the time is counted."""

    def __init__(self, owner: str, every_n_steps: int) -> None:
        self.every_n_steps = check_interval(owner, every_n_steps)
        self.acted_at = -1

    @abstractmethod
    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        """What is to be done."""

    def state_dict(self) -> dict[str, Any]:
        return {"acted_at": self.acted_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.acted_at = state_dict["acted_at"]

    def on_train_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        step = trainer.global_step
        if step > 0 and step % self.every_n_steps == 0:
            self.act_once(trainer, module)

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        if is_due(trainer, batch_idx, self.every_n_steps):
            self.act_once(trainer, module)

    def act_once(self, trainer: L.Trainer, module: DDPM) -> None:
        """Acts, unless it has at this step."""
        if self.acted_at != trainer.global_step:
            with PHASES.timed(self.phase):
                self.act(trainer, module)
            self.acted_at = trainer.global_step


class Periodic(Recurrent):
    """Acts every so many optimizer steps, and at the end if it has not just done so.

    raw: also on the weights as the optimizer left them. records: what it found last, by name, for results.json.
    """

    phase = "measure"

    def __init__(self, owner: str, every_n_steps: int, raw: bool) -> None:
        super().__init__(owner, every_n_steps)
        check_boolean(f"{owner}.raw", raw, "false measures averaged weights alone")
        self.raw = raw
        self.records: dict[str, dict[str, Any]] = {}

    @abstractmethod
    def measure(self, trainer: L.Trainer, module: DDPM, suffix: str) -> None:
        """Measures the model as it now is, on every process. suffix: what a result's name adds for its weights."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "records": self.records}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.records = dict(state_dict["records"])

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        # Not on_train_end: a run that was stopped here has no step left to train, and still wants its numbers.
        self.act_once(trainer, module)

    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        for weights, suffix in self._weights(trainer, module):
            with weights:
                self.measure(trainer, module, suffix)

    def _weights(self, trainer: L.Trainer, module: DDPM) -> Iterator[tuple[AbstractContextManager[None], str]]:
        # Averaged ones, if any are kept; raw ones, if there are no others, or they are asked for.
        if keeps_average(trainer):
            yield averaged(trainer, module), ""
        if self.raw or not keeps_average(trainer):
            yield nullcontext(), "_raw"

    def tell(self, trainer: L.Trainer, records: dict[str, dict[str, Any]]) -> None:
        """Logs the values, and keeps the records."""
        self.records |= records
        log_metrics(trainer, {name: record["value"] for name, record in records.items()})
