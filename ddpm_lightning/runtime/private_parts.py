"""All uses of Hydra's and Lightning's private parts, each with its reason.

tests/runtime/test_private_parts.py fails when a release of theirs changes one.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import hydra._internal.hydra as hydra_itself
import hydra._internal.utils as hydra_utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl  # Hydra's only loader
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException
from omegaconf.errors import OmegaConfBaseException

if TYPE_CHECKING:  # not when a command starts: --help does without Lightning
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import WandbLogger

__all__ = [
    "ConfigLoaderImpl",
    "basic_sweeper",
    "composing_with",
    "get_args_parser",
    "leave_out_anonymous",
    "leave_signals_alone",
    "without_hint_at_tracebacks",
]


@contextmanager
def composing_with(loader: type[ConfigLoaderImpl]) -> Iterator[None]:
    """Makes Hydra compose configurations with this loader: it has no hook between composing one and acting on it."""
    hydra: Any = hydra_itself
    before, hydra.ConfigLoaderImpl = hydra.ConfigLoaderImpl, loader
    try:
        yield
    finally:
        hydra.ConfigLoaderImpl = before


@contextmanager
def without_hint_at_tracebacks() -> Iterator[None]:
    """Makes Hydra leave out its line about HYDRA_FULL_ERROR after errors that the user can mend."""
    before = hydra_utils.run_and_report

    def run_and_report(func: Callable[[], Any]) -> Any:
        try:
            return func()
        except CompactHydraException as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            is_ours = str(error).startswith("Error:")
            cause = None if is_ours or not isinstance(error.__cause__, OmegaConfBaseException) else error.__cause__
            print(error, *([cause] if cause else []), sep="\n", file=sys.stderr)
            sys.exit(1)

    shown_by: tuple[Any, ...] = (hydra_utils, hydra_itself)
    for module in shown_by:
        module.run_and_report = lambda func: before(lambda: run_and_report(func))
    try:
        yield
    finally:
        for module in shown_by:
            module.run_and_report = before


def basic_sweeper() -> Any:
    """Returns Hydra's BasicSweeper: the public Sweeper does not split a=x,y into jobs.

    Hydra's search for plugins defines the class a second time, so it is imported after that.
    """
    Plugins.instance()
    return import_module("hydra._internal.core_plugins.basic_sweeper").BasicSweeper


def leave_signals_alone(trainer: "Trainer") -> None:
    """Keeps Lightning from handling signals: on SIGTERM it calls a collective, which hangs several processes."""
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def leave_out_anonymous(logger: "WandbLogger") -> None:
    """Keeps Lightning from passing `anonymous` to W&B, which answers with a warning that it is deprecated."""
    logger._wandb_init.pop("anonymous", None)
