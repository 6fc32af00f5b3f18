"""Checks that the numbers which callbacks watch, such as EarlyStopping's monitor, are logged in training."""

import logging
from collections.abc import Iterator
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from ddpm_lightning.errors import UserError, nearest
from ddpm_lightning.training.callbacks.checkpoints import LastCheckpoint
from ddpm_lightning.training.callbacks.ema import WeightAverage
from ddpm_lightning.training.callbacks.metrics import LOGGED, TrainingMetrics
from ddpm_lightning.training.callbacks.quality import SampleQuality
from ddpm_lightning.training.callbacks.validation_bound import ValidationBound
from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)


def check_monitors(trainer: L.Trainer, module: DDPM) -> None:
    """Raises UserError if a callback watches a number that this run does not log.

    If the trainer has a callback from another package, which may log the number, this only warns.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    are_known = all(type(each).__module__.startswith(("ddpm_lightning.", "lightning.")) for each in callbacks)
    names = names_in_training(callbacks, module)
    for callback in callbacks:
        if isinstance(callback, EarlyStopping):
            callback.strict = False  # Lightning would raise after the last step
    for who, monitor in watchers(callbacks):
        if monitor not in names:
            report_unknown(who, monitor, names, are_known)


def watchers(callbacks: list[L.Callback]) -> Iterator[tuple[str, str]]:
    """Yields the name of each callback that watches a number, and the number's name."""
    for each in callbacks:
        if isinstance(each, EarlyStopping | ModelCheckpoint) and each.monitor is not None:
            yield type(each).__name__, each.monitor
        if isinstance(each, LastCheckpoint) and each.best.metric is not None:
            yield "callbacks.checkpoint.best", each.best.metric


def report_unknown(who: str, monitor: str, names: list[str], are_known: bool) -> None:
    """Reports that no callback logs `monitor`: raises UserError if all callbacks are known, and warns otherwise."""
    remedy = nearest(monitor, sorted(names)) if names else "no callback logs a number; add one that does"
    words = f"{who} watches {monitor}, which this run does not log; {remedy}"
    if are_known:
        raise UserError(words)
    log.warning("%s This is right only if a callback of your own logs it.", words)


def names_in_training(callbacks: list[L.Callback], module: DDPM) -> list[str]:
    """Returns the names of the numbers that the callbacks log while the model trains."""
    names = list(LOGGED) if any(isinstance(each, TrainingMetrics) for each in callbacks) else []
    return [*names, *measured_names(callbacks, module, ValidationBound | SampleQuality)]


def will_average(callbacks: list[L.Callback]) -> bool:
    """Returns whether one of the callbacks averages the weights."""
    return any(isinstance(each, WeightAverage) for each in callbacks)


def measured_names(callbacks: list[L.Callback], module: DDPM, kind: Any) -> list[str]:
    """Returns the names of the results of all callbacks of this kind, for averaged weights, raw weights or both."""
    averaged = will_average(callbacks)
    measuring = [each for each in callbacks if isinstance(each, kind)]
    return [
        *(each.result_name(module.model, "") for each in measuring if averaged),
        *(each.result_name(module.model, "_raw") for each in measuring if each.raw or not averaged),
    ]
