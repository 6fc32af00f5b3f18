"""The run directory: writable, as the first thing that a command sees to, and of one process. Imports nothing heavy."""

import contextlib
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from ddpm_lightning.errors import UserError


class RunDirectoryCheck(Callback):
    """Ends the command with one sentence where Hydra would end it with a traceback. A command that fails, because it is
    refused, say, leaves the run's own configuration where Hydra has written that of the command."""

    def __init__(self) -> None:
        self.before: dict[Path, bytes] = {}

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.run.dir)
        check_writable(folder, "hydra.run.dir")
        self._remember(folder.glob(".hydra/*.yaml"))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status == JobStatus.FAILED:
            for path, content in self.before.items():
                if path.parents[1] == Path(config.hydra.runtime.output_dir):
                    path.write_bytes(content)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        check_writable(folder, "hydra.sweep.dir")
        self._remember(folder.glob("*/.hydra/*.yaml"))

    def _remember(self, paths: Iterable[Path]) -> None:
        self.before = {Path(os.path.abspath(path)): path.read_bytes() for path in paths}


class OwnDirectoryCheck(RunDirectoryCheck):
    """The same for what is not training: it may not write over the results of a run."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.run.dir)
        if (folder / "checkpoints").exists():
            sys.exit(
                f"Error: {folder} holds a training run, whose results would be written over; choose another with "
                "hydra.run.dir=PATH"
            )
        super().on_run_start(config, **kwargs)


def check_writable(folder: Path, option: str) -> None:
    """Makes the folder and tries to write there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        sys.exit(
            f"Error: the run directory {folder} cannot be written ({error.strerror or error}); "
            f"choose another with {option}=PATH"
        )


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Inside, no other process may train there. Raises UserError where one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:  # a process that ends, however it does, unlocks it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {folder}; wait for it, or stop it first") from None
        yield
