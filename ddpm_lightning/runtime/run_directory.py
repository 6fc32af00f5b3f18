"""The run directory: made before anything else happens, checked for room, and locked. Imports nothing heavy."""

import contextlib
import fcntl
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import started_in

log = logging.getLogger(__name__)


RECORDS = ("multirun.yaml", "plan.json")
"""The files that record the command of a sweep: Hydra's, and the report's."""


class RunDirectoryCheck(Callback):
    """Makes the run directory before Hydra writes to it. Ends the command with one sentence if it cannot.

    If the command is refused before its work begins, the folders that were made for it are removed. If all jobs of a
    sweep are refused, its records stay those of the command before.
    """

    unstarted: "RunDirectoryCheck | None" = None
    """The check of a sweep that has started no job yet."""

    def __init__(self) -> None:
        self.folder = Path()
        self.made: list[Path] = []  # the folders made for this command, the innermost first
        self.records: dict[Path, bytes] = {}  # of the sweep's command before this one
        self.restored = False  # then `records` are those of this command

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        check_not_typed(config, "hydra.sweep.dir", "this is a single run; use hydra.run.dir=PATH, or add -m")
        self._make_folder(config.hydra.run, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        check_not_typed(config, "hydra.run.dir", "this is a sweep; use hydra.sweep.dir=PATH for all runs")
        self._make_folder(config.hydra.sweep, "hydra.sweep.dir")
        paths = [self.folder / name for name in RECORDS]
        self.records = {path: path.read_bytes() for path in paths if path.is_file()}
        RunDirectoryCheck.unstarted = self

    def _make_folder(self, part: DictConfig, option: str) -> None:
        self.made = make_folder(part, option)
        self.folder = Path(part.dir).absolute()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        RunDirectoryCheck.unstarted = None

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        is_refused = isinstance(error_of(job_return), CompactHydraException)
        if is_refused and self.made and config.hydra.mode == RunMode.RUN:
            remove_unused(self.folder, config)
            remove_empty(self.made)
        if self.records and is_refused != self.restored:
            self.records = exchange(self.records)
            self.restored = is_refused
        if not is_refused:
            self.records = {}

    @classmethod
    def forget_unstarted(cls) -> None:
        """Undoes what a sweep wrote that is refused before its first job."""
        sweep, cls.unstarted = cls.unstarted, None
        if sweep is not None:
            for name in RECORDS:
                (sweep.folder / name).unlink(missing_ok=True)
            exchange(sweep.records)
            remove_empty(sweep.made)


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes those of these folders that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):  # another command has written there meanwhile
            folder.rmdir()


def exchange(files: dict[Path, bytes]) -> dict[Path, bytes]:
    """Writes files, and returns what they held before."""
    before = {path: path.read_bytes() for path in files if path.is_file()}
    for path, content in files.items():
        path.write_bytes(content)
    return before


def check_not_typed(config: DictConfig, name: str, advice: str) -> None:
    """Ends the command if this option was typed, which has no effect in this mode."""
    typed = cast(list[str], OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False))
    if any(each.lstrip("+").startswith(f"{name}=") for each in typed):
        sys.exit(f"Error: {name}= has no effect, because {advice}")


def error_of(job: JobReturn) -> BaseException | None:
    """Returns the exception that a job raised, or None."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # where Hydra announces the error
            _ = job.return_value  # raises
    except Exception as error:
        return error
    return None


def remove_unused(folder: Path, config: DictConfig) -> None:
    """Removes a folder that holds only what a command writes before its work: log, lock, .hydra and W&B's number."""
    hydra, subdir = config.hydra, config.hydra.output_subdir
    configuration = [f"{subdir}/{name}.yaml" for name in ("config", "hydra", "overrides")] if subdir else []
    unused = {folder / name for name in (f"{hydra.job.name}.log", ".lock", "wandb/run_id", *configuration)}
    found = [*folder.rglob("*")]
    if {path for path in found if not path.is_dir()} <= unused:
        for path in found:
            if not path.is_dir():
                path.unlink(missing_ok=True)
        remove_empty([*sorted(filter(Path.is_dir, found), reverse=True), folder])


class OwnDirectoryCheck(RunDirectoryCheck):
    """Makes the directory of a command other than train.py, and refuses one that holds a training run.

    If the command fails, the configuration of the command before it stays in .hydra.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[Path, bytes] = {}

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.run.dir)
        if (folder / "checkpoints").exists():
            sys.exit(
                f"Error: {folder} holds a training run, whose results would be overwritten; choose another with "
                "hydra.run.dir=PATH"
            )
        super().on_run_start(config, **kwargs)
        self._remember([Path(config.hydra.run.dir) / ".hydra"])

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        super().on_multirun_start(config, **kwargs)
        self._remember(folders_of_hydra(Path(config.hydra.sweep.dir)))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status == JobStatus.FAILED:
            for path, content in self.before.items():
                if path.parents[1] == Path(config.hydra.runtime.output_dir):
                    path.write_bytes(content)
        super().on_job_end(config, job_return, **kwargs)

    def _remember(self, folders: Iterable[Path]) -> None:
        self.before = {path.absolute(): path.read_bytes() for folder in folders for path in folder.glob("*.yaml")}


def folders_of_hydra(folder: Path) -> Iterator[Path]:
    """Yields the .hydra folders of the jobs below a sweep's folder.

    It does not search inside a job's folder beyond .hydra, because that folder can hold very many files.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # a folder that is missing has no jobs
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and entry.name != ".hydra":
                hydra = Path(entry.path, ".hydra")
                yield from [hydra] if hydra.is_dir() else folders_of_hydra(Path(entry.path))


def files_of_hydra(cfg: DictConfig) -> dict[str, str]:
    """Returns the contents of the files that Hydra writes into .hydra, by their names; {} outside of a command."""
    if not HydraConfig.initialized():
        return {}
    hydra = OmegaConf.create({"hydra": HydraConfig.get()})
    parts = {"config.yaml": cfg, "hydra.yaml": hydra, "overrides.yaml": hydra.hydra.overrides.task}
    return {name: OmegaConf.to_yaml(part) for name, part in parts.items()}


def in_sweep() -> bool:
    """Returns whether this job is one of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def resume_option(run_dir: Path) -> tuple[str, Path]:
    """Returns the option that resumes a run, and its value: of a job of a sweep, those of the whole sweep."""
    return ("hydra.sweep.dir", started_in() / HydraConfig.get().sweep.dir) if in_sweep() else ("hydra.run.dir", run_dir)


def make_folder(part: DictConfig, option: str) -> list[Path]:
    """Makes the folder `part.dir`, and returns those that did not exist before, the innermost first.

    It tests whether files can be written there, and ends the command if they cannot. A folder that is named after the
    time is always a new one, because two commands may start in the same second.
    """
    is_new = is_named_after_time(part)
    folder = Path(part.dir).expanduser()
    missing = [each for each in (folder.absolute(), *folder.absolute().parents) if not each.exists()]
    if is_new and is_one_of_several():
        sys.exit(
            f"Error: each of several processes would make a folder of its own; name one for all with {option}=PATH"
        )
    try:
        folder = new_folder(folder) if is_new else folder
        try_to_write(folder)
    except OSError as error:
        sys.exit(
            f"Error: the run directory {folder} cannot be written ({error.strerror or error}); "
            f"choose another with {option}=PATH"
        )
    if part.dir != str(folder):
        part.dir = str(folder)
    return list(dict.fromkeys([folder.absolute(), *missing])) if is_new else missing


def is_named_after_time(part: DictConfig) -> bool:
    """Returns whether `part.dir` holds the time, as it does by default."""
    return "${now:" in OmegaConf.to_container(part, resolve=False)["dir"]  # type: ignore[call-overload,index]


def try_to_write(folder: Path) -> None:
    """Makes a folder, if it is missing, and writes a temporary file there. Raises OSError if it cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def new_folder(folder: Path, number: int = 1) -> Path:
    """Makes a folder that did not exist, and returns its path. If the name is taken, a number is added to it."""
    numbered = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
    try:
        numbered.mkdir(parents=True)
    except FileExistsError:
        return new_folder(folder, number + 1)
    return numbered


def is_one_of_several() -> bool:
    """Returns whether torchrun or srun started other processes beside this one."""
    return any(int(os.environ.get(name, 1)) > 1 for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Locks a run directory while the block runs, so that no other process trains there.

    Where the file system has no locks (some network mounts), a warning says that the folder is not locked.

    Raises:
        UserError: Another process is training there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w", encoding="utf-8") as file:  # the system unlocks it when the process ends
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {folder}; wait for it, or stop it first") from None
        except OSError as error:
            log.warning(
                "%s cannot be locked (%s): make sure that no second command trains there",
                folder,
                error.strerror or error,
            )
        yield
