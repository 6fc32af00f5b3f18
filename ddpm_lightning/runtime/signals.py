"""Being asked to stop: Ctrl-C, SIGTERM, the warnings of a cluster. The step is finished, the run saved and ended."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], None]

log = logging.getLogger(__name__)

WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""What a cluster sends before it takes a job's machine away."""

ASKING = (signal.SIGINT, signal.SIGTERM, *WARNINGS)


class Interrupted(Exception):
    """The run was asked to stop, by this signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM, 138 and 140 for SIGUSR1, 2."""
        return 128 + self.signum


@contextmanager
def heard_by(handler: Handler) -> Iterator[None]:
    """Inside, signals that ask to stop come to the handler; after, to whom they came before."""
    before = {signum: signal.getsignal(signum) for signum in ASKING}
    _tell(dict.fromkeys(ASKING, handler))
    try:
        yield
    finally:
        _tell(before)


def _tell(handlers: dict[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # Python gives signals to no other
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Inside, until `raise_on_ctrl_c`, Ctrl-C ends the process with a word. While libraries are imported, nothing is to
    be finished, and an exception can be swallowed by whoever imports with `except:`."""
    before = signal.getsignal(signal.SIGINT)
    _tell({signal.SIGINT: _end})
    try:
        yield
    finally:
        _tell({signal.SIGINT: before})


def raise_on_ctrl_c() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt, if so far it ended the process."""
    if signal.getsignal(signal.SIGINT) is _end:
        _tell({signal.SIGINT: signal.default_int_handler})


def _end(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"\nStopped.\n")
    os._exit(128 + signum)


class StopRequest:
    """Remembers the first signal that asks to stop; a second Ctrl-C ends at once.

    may_interrupt: whether this process may stop without asking others: there are none, or it tells them itself.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.may_interrupt = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, this hears what asks to stop; after, it has forgotten."""
        with heard_by(self._hear):
            try:
                yield
            finally:
                self.signum = None

    def check(self) -> None:
        """Raises Interrupted if asked to stop, between two steps of a long work that can be done again."""
        if self.signum is not None and self.may_interrupt:
            raise Interrupted(self.signum)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            os.write(
                2,
                b"\nStopped at once; the same options with hydra.run.dir=FOLDER resume what is saved in that folder.\n",
            )
            os._exit(128 + signum)
        self.signum = self.signum or signum


STOP = StopRequest()
"""Of this process: signals come to it as a whole."""


def requeue(signum: int) -> None:
    """After a warning of the cluster, once all is saved: hands it on to whom it came before, such as
    submitit, which sends the job to the queue again; where nobody listened, asks Slurm to."""
    if signum not in WARNINGS:
        return
    if callable(signal.getsignal(signum)):
        signal.raise_signal(signum)
    elif "SLURM_JOB_ID" in os.environ and is_first_task():
        try:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            log.warning("The job could not be queued again (%s); all is saved", error)


def is_first_task() -> bool:
    """Whether this is the first of the tasks that Slurm's srun has started, which speaks for all; or there are none."""
    return os.environ.get("SLURM_PROCID", "0") == "0"
