"""Starts a command: Hydra composes and checks its configuration, then the command's own module runs."""

import io
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import hydra
from omegaconf import DictConfig

from ddpm_lightning.cli.positional import as_options
from ddpm_lightning.configuration.checked_loader import guarded
from ddpm_lightning.configuration.groups import CONF
from ddpm_lightning.launching.failures import recording_failures
from ddpm_lightning.launching.sweeper import list_failures_at_the_end
from ddpm_lightning.runtime.quiet_libraries import quiet_matplotlib


@dataclass(frozen=True)
class Command:
    """One of the commands, as a function that launchers can pickle for other processes.

    Its module brings torch and Lightning, so it is imported only when the command runs: `--help` does without them.

    Args:
        name: The name of its module in ddpm_lightning.cli and of its configuration in conf/.
    """

    name: str

    def __call__(self, cfg: DictConfig) -> Any:
        quiet_matplotlib()
        with recording_failures():
            return import_module(f"ddpm_lightning.cli.{self.name}").run(cfg)


def run_command(name: str) -> None:
    """Runs a command with the options of the command line, which override conf/NAME.yaml."""
    sys.argv[1:] = as_options(name, sys.argv[1:])
    escape_unprintable_characters()
    list_failures_at_the_end()
    guarded(hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(Command(name)))()


def escape_unprintable_characters() -> None:
    """Makes stdout and stderr write characters that their encoding lacks as \\xb1, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
