"""How the commands talk: mistakes as one sentence, libraries kept quiet, loggers closed, paths as one types them."""

import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException, HydraException
from omegaconf.errors import OmegaConfBaseException

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.results import SOURCE
from ddpm_lightning.runtime.signals import Interrupted, raise_on_ctrl_c


@contextmanager
def reporting_user_errors() -> Iterator[None]:
    """Inside, a mistake of the user ends the command with its sentence and no traceback (HYDRA_FULL_ERROR=1: both);
    Ctrl-C ends it with a word."""
    raise_on_ctrl_c()
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise CompactHydraException(
            f"Error: the GPU has not enough memory ({sentence(error).partition('. ')[0]}); make batch_size= smaller "
            "(data.batch_size= in training, data.eval_batch_size= for bits/dim)"
        ) from error
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        raise SystemExit(130) from None
    except (UserError, OmegaConfBaseException, OSError) as error:
        raise CompactHydraException(f"Error: {sentence(error)}") from error


def sentence(error: BaseException) -> str:
    """The error's own words; a process that reads ahead sends them with its traceback before them."""
    words = str(error)
    return words.rpartition(f"{UserError.__name__}: ")[2].strip() if "Original Traceback" in words else words


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside, Lightning leaves out its advertisements and the warnings that do not hold here."""
    for name in ("lightning.pytorch", "matplotlib.font_manager"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("profilers", "callbacks.model_summary"):  # who asks for these wants to read them
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.INFO)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes.*")
        warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view strides.*")
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided.*")
        warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        # Its successor, forward_sync_buffers, is unknown to torch before 2.13, which this project takes, too.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        yield


@runtime_checkable
class Closing(Protocol):
    """A logger that is to be told how the run ended."""

    def finish(self, exit_code: int) -> None: ...


@contextmanager
def closing_loggers(loggers: list[Any]) -> Iterator[None]:
    """After, the W&B run is closed, as failed if it failed, so that the next job of a sweep has one of its own."""
    code = 1
    try:
        yield
        code = 0
    except Interrupted as stop:
        code = stop.exit_code
        raise
    finally:
        for logger in loggers:
            if isinstance(logger, Closing):
                logger.finish(exit_code=code)


def started_in() -> Path:
    """The folder where the command was given; hydra.job.chdir=true leaves it."""
    return Path(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else Path.cwd()


def relative(path: Path) -> Path:
    """The path as one types it where the command was given: to be told, not to be opened."""
    return Path(os.path.relpath(path, started_in())) if path.is_relative_to(started_in()) else path


def override(name: str, value: str | Path) -> str:
    """`name=value` as Hydra takes it: in quotes where its grammar would read the value as something else, as with the
    name of a sweep's folder. (`${…}` in a path is still OmegaConf's.)"""
    words = str(value)
    if reads_as(f"{name}={words}", words):
        return f"{name}={words}"
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', r"\""), words)
    return f'{name}="{escaped}"'


def reads_as(typed: str, words: str) -> bool:
    """Whether Hydra reads these words as the value of a typed option."""
    try:
        return OverridesParser.create().parse_override(typed).value() == words
    except HydraException:
        return False


def option(name: str, value: str | Path) -> str:
    """`name=value` as one types it into a shell."""
    return shlex.quote(override(name, value))


def python(script: str) -> str:
    """How one calls train.py, sample.py … here: by that file in the checkout's folder, elsewhere as `ddpm sample`, and
    where that is not installed, by the file's whole path."""
    program = relative(Path(sys.executable))
    ours = SOURCE / script
    if (started_in() / script).resolve() == ours:
        return shlex.join([str(program), script])
    ddpm = program.with_name("ddpm")
    if (started_in() / ddpm).is_file():
        return shlex.join([str(ddpm), ours.stem])
    words = [str(relative(ours))] if ours.is_file() else ["-m", "ddpm_lightning.cli", ours.stem]
    return shlex.join([str(program), *words])
