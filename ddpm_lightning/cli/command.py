"""Turns a function of a configuration into a command: Hydra composes, every configuration is checked first."""

from collections.abc import Callable
from functools import wraps

import hydra
from omegaconf import DictConfig

from ddpm_lightning.training.command_line.failures import list_failures_at_the_end, telling_failures
from ddpm_lightning.training.command_line.groups import CONF
from ddpm_lightning.training.guard import guarded


def command(function: Callable[[DictConfig], None]) -> Callable[[], None]:
    """Returns the command of a function: it has the configuration of the same name as the function's module."""
    name = function.__module__.rpartition(".")[2]
    main = hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(telling_failures(function))

    @wraps(function)
    def run() -> None:
        list_failures_at_the_end()
        main()

    return guarded(run)
