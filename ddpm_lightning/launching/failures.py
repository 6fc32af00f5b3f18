"""Failures of jobs: written to their logs, shown when they happen, listed at the end. Imports nothing heavy."""

import logging
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from ddpm_lightning.runtime.command_line import relative

log = logging.getLogger(__name__)


def telling_failures(function: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Returns the function with its failures written to the job's log, and shown at once if the job is one of a sweep.
    (Hydra shows that of a single run, and of a sweep the first, when all jobs have ended.)"""

    @wraps(function)
    def run(cfg: DictConfig) -> Any:
        try:
            return function(cfg)
        except Exception as error:
            tell(error)
            raise

    return run


def tell(error: Exception) -> None:
    """Gives the error to the handlers of the job's log, with a traceback unless it is a mistake of the user."""
    hydra = HydraConfig.get()
    words = f"{relative(Path(hydra.runtime.output_dir))} failed: {reason(error)}"
    traceback = None if isinstance(error, CompactHydraException) else sys.exc_info()
    record = log.makeRecord(log.name, logging.ERROR, __file__, 0, "%s", (words,), traceback)
    for handler in logging.getLogger().handlers:
        if hydra.mode == RunMode.MULTIRUN or isinstance(handler, logging.FileHandler):
            handler.handle(record)


def reason(error: BaseException) -> str:
    """Why something failed, in a sentence."""
    return str(error).removeprefix("Error: ") if isinstance(error, CompactHydraException) else repr(error)


def names_of(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """What was asked of each job, and not of all."""
    common = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
    return [" ".join(each for each in filter_overrides(overrides) if each not in common) for overrides in job_overrides]


def raise_for(failures: Sequence[tuple[str, str]], jobs: int, cause: BaseException | None = None) -> None:
    """Raises one error that lists the failures, if there are any, by name and reason."""
    if failures:
        lines = "".join(f"\n  {name}: {why}" for name, why in failures)
        raise CompactHydraException(f"Error: {len(failures)} of {jobs} jobs failed{lines}") from cause
