"""Failures of jobs: written to their logs, shown when they happen and listed at the end. Imports nothing heavy."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from hydra.errors import CompactHydraException
from hydra.types import RunMode

from ddpm_lightning.errors import counted
from ddpm_lightning.runtime.command_line import relative

log = logging.getLogger(__name__)


@contextmanager
def recording_failures() -> Iterator[None]:
    """Writes an error to the job's log, and shows it at once if the job is one of a sweep.

    Hydra itself shows the error of a single run, and of a sweep only the first one, after all jobs.
    """
    try:
        yield
    except Exception as error:
        record(error)
        raise


def record(error: Exception) -> None:
    """Passes an error to the handlers of the job's log, with a traceback unless the user can mend it."""
    hydra = HydraConfig.get()
    message = f"{relative(Path(hydra.runtime.output_dir))} failed: {reason(error)}"
    traceback = None if isinstance(error, CompactHydraException) else sys.exc_info()
    entry = log.makeRecord(log.name, logging.ERROR, __file__, 0, "%s", (message,), traceback)
    for handler in logging.getLogger().handlers:
        if hydra.mode == RunMode.MULTIRUN or isinstance(handler, logging.FileHandler):
            handler.handle(entry)


def reason(error: BaseException) -> str:
    """Returns one sentence that says why something failed."""
    return str(error).removeprefix("Error: ") if isinstance(error, CompactHydraException) else repr(error)


def names_of(job_overrides: Sequence[Sequence[str]]) -> list[str]:
    """Returns a name for each job: its options that not all jobs share."""
    common = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
    return [" ".join(each for each in filter_overrides(overrides) if each not in common) for overrides in job_overrides]


def raise_for(failures: Sequence[tuple[str, str]], jobs: int, cause: BaseException | None = None) -> None:
    """Raises one error that lists the failed jobs, if there are any.

    Args:
        failures: The name of each failed job, and the reason.
        jobs: The number of all jobs.
        cause: The exception to chain.
    """
    if failures:
        lines = "".join(f"\n  {name}: {why}" for name, why in failures)
        raise CompactHydraException(f"Error: {len(failures)} of {counted(jobs, 'job')} failed{lines}") from cause
