"""Closes loggers when a run ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from ddpm_lightning.runtime.signals import Interrupted


@runtime_checkable
class Closing(Protocol):
    """A logger that must know how the run ended.

    Example:
        >>> class Notebook:
        ...     def finish(self, exit_code: int) -> None:
        ...         print("failed" if exit_code else "done")
        >>> with closing_loggers([Notebook()]):
        ...     pass
        done
    """

    def finish(self, exit_code: int) -> None:
        """Closes the logger. `exit_code` is 0 after success, and otherwise the exit code of the process."""


@contextmanager
def closing_loggers(loggers: list[Any]) -> Iterator[None]:
    """Closes the loggers on exit, and passes them the exit code of the run.

    The next job of a sweep in this process can then open a W&B run of its own.
    """
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
