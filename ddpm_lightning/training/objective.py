"""The number in results.json that a search over options minimizes or maximizes (objective=NAME)."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ddpm_lightning.errors import UserError, nearest
from ddpm_lightning.training.callbacks.quality import SampleQuality
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.monitors import measured_names, will_average
from ddpm_lightning.training.run_results import read_results, reason_of_divergence, test_name


def objective_of(config: dict[str, Any]) -> float | None:
    """Returns the value of objective= in results.json, or None if no objective is set.

    If the run diverged or the value is NaN or infinite, returns the worst value.

    Raises:
        UserError: if results.json has no such number.
    """
    if config["objective"] is None:
        return None
    if reason_of_divergence(config):
        return worst()
    metrics = read_results(config).get("metrics", {})
    check_name(config["objective"], metrics)
    value = float(metrics[config["objective"]]["value"])
    return value if math.isfinite(value) else worst()


def worst() -> float:
    """Returns what a run without a finite number reports to a search: ∞ if it minimizes, −∞ if it maximizes."""
    hydra: Any = HydraConfig.get() if HydraConfig.initialized() else OmegaConf.create()
    direction = str(OmegaConf.select(hydra, "sweeper.direction", default="minimize"))
    return -math.inf if direction.endswith("maximize") else math.inf


def check_objective(config: dict[str, Any], module: DDPM, trainer: L.Trainer, evaluated: Sequence[str] | None) -> None:
    """Raises UserError if objective= names a number that this run will not measure.

    Args:
        config: the run's configuration.
        module: the module that is trained.
        trainer: the trainer, with all callbacks.
        evaluated: the names of the numbers that are measured after training; None if a metric of the user's own does
            not list its names, in which case nothing is checked.
    """
    if config["objective"] is not None and evaluated is not None:
        check_name(config["objective"], [*names_in_results(module, trainer), *evaluated])


def names_in_results(module: DDPM, trainer: L.Trainer) -> list[str]:
    """Returns the names of the numbers that the test and the callbacks write to results.json."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [test_name(module, will_average(callbacks)), *measured_names(callbacks, module, SampleQuality)]


def check_name(objective: str, names: Iterable[str]) -> None:
    """Raises UserError unless the objective is one of the names."""
    known = sorted(names)
    if objective not in known:
        raise UserError(
            f"objective={objective} is not measured by this run; {nearest(str(objective), known, cutoff=0.4)} "
            "(metrics=[…] measures more after training)"
        )
