"""Turns a function of a configuration into a command: Hydra composes, every configuration is checked first."""

from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from ddpm_lightning.training.guard import guarded

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
"""Where the configurations are: in an installed package inside it, in a checkout beside it."""


def command(function: Callable[[DictConfig], None]) -> Callable[[], None]:
    """Returns the command of a function: it has the configuration of the same name as the function's module."""
    name = function.__module__.rpartition(".")[2]
    return guarded(hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(function))
