"""The numbers that training logs, and the callbacks of Lightning that watch one of them."""

import logging
from difflib import get_close_matches

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.callbacks.ema import EMA
from ddpm_lightning.training.callbacks.metrics import LOGGED, TrainingMetrics
from ddpm_lightning.training.callbacks.quality import SampleQuality
from ddpm_lightning.training.callbacks.validation_bound import ValidationBound
from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)


def check_monitors(trainer: L.Trainer, module: DDPM) -> None:
    """Raises UserError where EarlyStopping watches a number that this run does not log.

    It only warns where a callback from another package is there, which may log the number.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    are_known = all(type(each).__module__.startswith(("ddpm_lightning.", "lightning.")) for each in callbacks)
    names = names_in_training(callbacks, module)
    for callback in callbacks:
        if isinstance(callback, EarlyStopping):
            callback.strict = False  # Lightning would end the run after its last step where nothing was logged before
            if callback.monitor not in names:
                tell_unknown(callback.monitor, names, are_known)


def tell_unknown(monitor: str, names: list[str], are_known: bool) -> None:
    """Says that nothing logs this number, as an error if all callbacks are known."""
    near = get_close_matches(monitor, names) or sorted(names) or ["another callback: none logs a number"]
    words = f"EarlyStopping watches {monitor}, which this run does not log; did you mean {' or '.join(near)}?"
    if are_known:
        raise UserError(words)
    log.warning("%s It waits for a callback of your own to log it.", words)


def names_in_training(callbacks: list[L.Callback], module: DDPM) -> list[str]:
    """Returns the names of the numbers that the callbacks log while the model trains."""
    averaged = any(isinstance(each, EMA) for each in callbacks)
    names = list(LOGGED) if any(isinstance(each, TrainingMetrics) for each in callbacks) else []
    for each in callbacks:
        if isinstance(each, ValidationBound | SampleQuality):
            names += [each.result_name(module.model, "")] if averaged else []
            names += [each.result_name(module.model, "_raw")] if each.raw or not averaged else []
    return names
