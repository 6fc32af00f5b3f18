"""The number of results.json that a search over options minimizes or maximizes: objective=NAME."""

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.callbacks.quality import SampleQuality
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.monitors import measured_names, will_average
from ddpm_lightning.training.run_results import read_outcome, reason_of_divergence, test_name


def objective_of(config: dict[str, Any]) -> float | None:
    """Returns the value that results.json has for objective=, the worst one if the run diverged; None without one.

    Raises UserError where results.json has no such number.
    """
    if config["objective"] is None:
        return None
    if reason_of_divergence(config):
        return worst()
    metrics = read_outcome(config).get("metrics", {})
    check_name(config["objective"], metrics)
    value = float(metrics[config["objective"]]["value"])
    return value if math.isfinite(value) else worst()


def worst() -> float:
    """Returns the value that a search likes least: −∞ where it maximizes, else ∞."""
    hydra: Any = HydraConfig.get() if HydraConfig.initialized() else OmegaConf.create()
    direction = str(OmegaConf.select(hydra, "sweeper.direction", default="minimize"))
    return -math.inf if direction.endswith("maximize") else math.inf


def check_objective(config: dict[str, Any], module: DDPM, trainer: L.Trainer, evaluated: Sequence[str] | None) -> None:
    """Raises UserError where objective= is a number that this run will not measure.

    evaluated: the names of what is measured after training; None where a metric of the user's own does not tell.
    """
    if config["objective"] is not None and evaluated is not None:
        check_name(config["objective"], [*names_in_results(module, trainer), *evaluated])


def names_in_results(module: DDPM, trainer: L.Trainer) -> list[str]:
    """Returns the names of the numbers that training itself writes to results.json."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [test_name(module, will_average(callbacks)), *measured_names(callbacks, module, SampleQuality)]


def check_name(objective: str, names: Iterable[str]) -> None:
    """Raises UserError where the objective is none of the names."""
    known = sorted(names)
    if objective not in known:
        near = get_close_matches(str(objective), known, n=3, cutoff=0.4) or known
        raise UserError(
            f"objective={objective} is not measured by this run; did you mean {' or '.join(near)}? "
            "(metrics=[…] measures more after training)"
        )
