"""Stops a run when a signal asks for it: Ctrl-C, SIGTERM, a cluster's warning. The step is finished and saved first."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], None]

log = logging.getLogger(__name__)

CLUSTER_WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""The signals that a cluster sends before it takes a job's machine away."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *CLUSTER_WARNINGS)
"""The signals that ask to stop."""


class Interrupted(Exception):
    """A signal asked the run to stop.

    Args:
        signum: The number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """Returns 128 plus the signal's number, as shells do: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


@contextmanager
def handling(signums: Iterable[signal.Signals], handler: Handler) -> Iterator[None]:
    """Handles these signals with `handler` inside the block, and as before after it."""
    before = {signum: signal.getsignal(signum) for signum in signums}
    _set_handlers(dict.fromkeys(before, handler))
    try:
        yield
    finally:
        _set_handlers(before)


def _set_handlers(handlers: dict[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


@contextmanager
def exiting_on_ctrl_c() -> Iterator[None]:
    """Makes Ctrl-C exit the process at once inside the block, until `raise_on_ctrl_c` is called.

    It is for the time when libraries are imported: nothing must be saved yet, and an `except:` in a library could
    swallow KeyboardInterrupt.
    """
    with handling([signal.SIGINT], _exit):
        yield


def raise_on_ctrl_c() -> None:
    """Makes Ctrl-C raise KeyboardInterrupt again, where `exiting_on_ctrl_c` makes it exit the process."""
    if signal.getsignal(signal.SIGINT) is _exit:
        _set_handlers({signal.SIGINT: signal.default_int_handler})


def _exit(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"\nStopped.\n")
    os._exit(128 + signum)


class StopRequest:
    """Remembers the first signal that asks to stop. A second Ctrl-C exits the process at once.

    Attributes:
        signum: The signal, or None.
        may_interrupt: Whether this process may stop by itself. False if it must first agree with other processes.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.may_interrupt = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Remembers a signal inside the block, and forgets it after the block."""
        with handling(STOP_SIGNALS, self._remember):
            try:
                yield
            finally:
                self.signum = None

    def check(self) -> None:
        """Raises Interrupted if a signal asked to stop. Long work that can be repeated calls it between its steps."""
        if self.signum is not None and self.may_interrupt:
            raise Interrupted(self.signum)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            os.write(
                2,
                b"\nStopped at once; the same options with hydra.run.dir=FOLDER resume what is saved in that folder.\n",
            )
            os._exit(128 + signum)
        self.signum = self.signum or signum


STOP = StopRequest()
"""The request of this process, because signals come to a process as a whole."""


def requeue(signum: int) -> None:
    """Requeues this Slurm job if a cluster's warning stopped it. Call it when everything is saved.

    If another handler of the signal is set, such as submitit's, the signal is raised again for that handler to requeue
    the job. Otherwise `scontrol requeue` is called.
    """
    if signum not in CLUSTER_WARNINGS:
        return
    if callable(signal.getsignal(signum)):
        signal.raise_signal(signum)
    elif "SLURM_JOB_ID" in os.environ and is_first_task():
        try:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            log.warning("The job could not be queued again (%s); all is saved", error)


def is_first_task() -> bool:
    """Returns whether this is the first of srun's tasks, which acts for all of them, or srun started none."""
    return os.environ.get("SLURM_PROCID", "0") == "0"
