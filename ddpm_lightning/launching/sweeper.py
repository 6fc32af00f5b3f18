"""Makes Hydra's sweeps end with a list of all jobs that failed; by itself Hydra shows only the first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from ddpm_lightning.launching.failures import names_of, raise_for, reason
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.private_parts import basic_sweeper
from ddpm_lightning.runtime.run_directory import error_of

BasicSweeper: Any = basic_sweeper()


def list_failures_at_the_end() -> None:
    """Makes Hydra's sweeps use `ListingSweeper`.

    It replaces BasicSweeper among Hydra's plugins, because Hydra looks for sweepers only in its own packages.
    """
    Plugins.instance().class_name_to_class[f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"] = ListingSweeper


class ListingSweeper(BasicSweeper):  # type: ignore[misc]
    """Hydra's sweeper, with an error that lists all jobs that failed, whatever launcher runs them."""

    def setup(self, **context: Any) -> None:
        super().setup(**context)
        self.launcher: Launcher = ListingLauncher(self.launcher)


class ListingLauncher(Launcher):
    """Launches jobs with another launcher, and raises one error for all that failed.

    Args:
        launcher: The other launcher, already set up.
    """

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def setup(self, **context: Any) -> None:
        """Does nothing, because the other launcher is set up already."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs = self.launcher.launch(job_overrides, initial_job_idx)
        failed = [
            (name, job, error)
            for name, job in zip(names_of(job_overrides), jobs, strict=True)
            if (error := error_of(job)) is not None
        ]
        listed = [(name, f"{reason(error)}; its log is {log_of(job)}") for name, job, error in failed]
        raise_for(listed, len(jobs), failed[0][2] if failed else None)
        return jobs


def log_of(job: JobReturn) -> Path:
    """Returns the path of a job's log file."""
    assert job.hydra_cfg is not None
    hydra = job.hydra_cfg.hydra
    return relative(Path(hydra.runtime.output_dir) / f"{hydra.job.name}.log")
