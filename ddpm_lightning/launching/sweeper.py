"""Hydra's sweeper, but it ends with a list of all jobs that failed."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from ddpm_lightning.launching.failures import names_of, raise_for, reason, shortest


class ListingSweeper(BasicSweeper):
    """Hydra's sweeper, but it ends with a list of all jobs that failed, not with the first alone."""

    def setup(self, **context: Any) -> None:
        super().setup(**context)
        assert self.launcher is not None
        self.launcher = ListingLauncher(self.launcher)


class ListingLauncher(Launcher):
    """Launches jobs by another launcher, and raises one error for all that failed."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def setup(self, **context: Any) -> None:
        """The other launcher has been set up."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        done = self.launcher.launch(job_overrides, initial_job_idx)
        failed = [(name, job) for name, job in zip(names_of(job_overrides), done, strict=True) if has_failed(job)]
        listed = [(name, f"{reason(error_of(job))}; its log is {log_of(job)}") for name, job in failed]
        raise_for(listed, len(done), error_of(failed[0][1]) if failed else None)
        return done


def has_failed(job: JobReturn) -> bool:
    """Whether the job raised an error."""
    return job.status == JobStatus.FAILED


def error_of(job: JobReturn) -> BaseException:
    """What a failed job raised."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra would announce the error there
            return job.return_value  # type: ignore[no-any-return]  # which raises
    except Exception as error:
        return error


def log_of(job: JobReturn) -> Path:
    """The log file of a job, as Hydra names it."""
    assert job.hydra_cfg is not None
    hydra = job.hydra_cfg.hydra
    return shortest(Path(hydra.runtime.output_dir) / f"{hydra.job.name}.log")
