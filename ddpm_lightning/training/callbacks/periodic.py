"""Base classes of the callbacks that act every `every_n_steps` optimizer steps."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import check_boolean
from ddpm_lightning.runtime.phases import PHASES
from ddpm_lightning.runtime.results import Records
from ddpm_lightning.training.callbacks.ema import averaged, keeps_average
from ddpm_lightning.training.callbacks.trainer_state import check_interval, is_due
from ddpm_lightning.training.loggers.all_loggers import log_metrics
from ddpm_lightning.training.module import DDPM


class Periodic(L.Callback):
    """Base class of callbacks that act every `every_n_steps` optimizer steps.

    A checkpoint holds the step of the last action. If a run is interrupted between saving a checkpoint and acting at
    the same step, the resumed run acts before its first step.

    Args:
        option: the callback's key in the configuration, for error messages, such as "callbacks.grid".
        every_n_steps: optimizer steps between two actions, at least 1.

    Raises:
        UserError: if every_n_steps is not a whole number of at least 1.

    Example:
        >>> class PrintBeta(Periodic):
        ...     def act(self, trainer: L.Trainer, module: DDPM) -> None:
        ...         print(trainer.global_step, module.model.process.beta[-1].item())
        >>> PrintBeta("callbacks.print_beta", every_n_steps=100).every_n_steps
        100
    """

    phase = "draw"
    """The phase of training that the time of `act` is counted under: time/draw_s in metrics.csv."""

    def __init__(self, option: str, every_n_steps: int) -> None:
        self.every_n_steps = check_interval(option, every_n_steps)
        self.acted_at = -1

    @abstractmethod
    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        """Does the callback's work, on every process."""

    def state_dict(self) -> dict[str, Any]:
        return {"acted_at": self.acted_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.acted_at = state_dict["acted_at"]

    def on_train_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if trainer.global_step > 0 and trainer.global_step % self.every_n_steps == 0:
            self.act_once(trainer, module)

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        if is_due(trainer, batch_idx, self.every_n_steps):
            self.act_once(trainer, module)

    def act_once(self, trainer: L.Trainer, module: DDPM) -> None:
        """Acts, unless the callback has already acted at this optimizer step."""
        if self.acted_at != trainer.global_step:
            with PHASES.timed(self.phase):
                self.act(trainer, module)
            self.acted_at = trainer.global_step


class PeriodicMeasurement(Periodic):
    """Base class of callbacks that measure the model every `every_n_steps` optimizer steps and at the end of training.

    They measure the averaged weights if an EMA callback keeps any, and otherwise the raw weights.

    Args:
        option: the callback's key in the configuration, for error messages.
        every_n_steps: optimizer steps between two measurements, at least 1.
        raw: whether to measure the raw weights in addition to the averaged ones.

    Attributes:
        records: the newest results by name, which results.json reports.

    Example:
        >>> import torch
        >>> class WeightNorm(PeriodicMeasurement):
        ...     def measure(self, trainer: L.Trainer, module: DDPM, suffix: str) -> None:
        ...         norm = torch.nn.utils.get_total_norm(module.model.parameters())
        ...         self.log_and_keep(trainer, {f"val/weight_norm{suffix}": {"value": float(norm)}})
        ...
        ...     def result_name(self, model: DenoisingDiffusion, suffix: str) -> str:
        ...         return f"val/weight_norm{suffix}"
        >>> WeightNorm("callbacks.weight_norm", every_n_steps=100, raw=False).records
        {}
    """

    phase = "measure"

    def __init__(self, option: str, every_n_steps: int, raw: bool) -> None:
        super().__init__(option, every_n_steps)
        check_boolean(f"{option}.raw", raw, "false measures averaged weights alone")
        self.raw = raw
        self.records: Records = {}

    @abstractmethod
    def measure(self, trainer: L.Trainer, module: DDPM, suffix: str) -> None:
        """Measures the model with its current weights, on every process.

        Args:
            suffix: the suffix of each result's name: "" for averaged weights, "_raw" for raw ones.
        """

    @abstractmethod
    def result_name(self, model: DenoisingDiffusion, suffix: str) -> str:
        """Returns the name of the result in the loggers. `suffix` is that of `measure`."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "records": self.records}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.records = dict(state_dict["records"])

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        # Not on_train_end: Lightning skips it when a resumed run has no step left to train.
        self.act_once(trainer, module)

    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        for weights, suffix in self._weights(trainer, module):
            with weights:
                self.measure(trainer, module, suffix)

    def _weights(self, trainer: L.Trainer, module: DDPM) -> Iterator[tuple[AbstractContextManager[None], str]]:
        if keeps_average(trainer):
            yield averaged(trainer, module), ""
        if self.raw or not keeps_average(trainer):
            yield nullcontext(), "_raw"

    def log_and_keep(self, trainer: L.Trainer, records: Records) -> None:
        """Logs the values of the records and keeps the records for results.json."""
        self.records |= records
        log_metrics(trainer, {name: record["value"] for name, record in records.items()})
