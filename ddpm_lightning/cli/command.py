"""Turns a function of a configuration into a command: Hydra composes, every configuration is checked first."""

import io
import sys
from collections.abc import Callable
from functools import wraps

import hydra
from omegaconf import DictConfig

from ddpm_lightning.training.command_line.failures import list_failures_at_the_end
from ddpm_lightning.training.command_line.groups import CONF
from ddpm_lightning.training.guard import guarded


def write_what_streams_can() -> None:
    """Has stdout and stderr write characters that their encoding lacks as \\xb1, where they would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def command(function: Callable[[DictConfig], float | None]) -> Callable[[], None]:
    """Returns the command of a function, whose configuration has the name of the function's module.

    The function must be found in its module by its own name, because a launcher pickles it for other processes.
    """
    name = function.__module__.rpartition(".")[2]
    main = hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(function)

    @wraps(function)
    def run() -> None:
        write_what_streams_can()
        list_failures_at_the_end()
        main()

    return guarded(run)
