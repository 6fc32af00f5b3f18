"""Runs calls one after another in a thread, so that slow or failing ones neither delay nor end the run."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from queue import Full, Queue
from typing import Any

log = logging.getLogger(__name__)

Work = Callable[[], Any]

QUEUE_SIZE = 1000
"""Calls that may wait in the queue. New calls are dropped while it is full."""


class Background:
    """A thread that runs calls in order and logs a warning at the first that fails.

    Args:
        owner: the service that the calls belong to, for the warning.
        queue_size: calls that may wait. New calls are dropped while the queue is full.
    """

    def __init__(self, owner: str, queue_size: int = QUEUE_SIZE) -> None:
        self.owner = owner
        self.waiting: Queue[Work] = Queue(queue_size)
        self.warned = False
        self.over = False
        self.thread = threading.Thread(target=self._work, daemon=True, name=owner)
        self.thread.start()

    def is_current(self) -> bool:
        """Returns whether the caller runs in this thread."""
        return threading.current_thread() is self.thread

    def do(self, work: Work) -> None:
        """Queues a call and returns at once. A call from within this thread runs immediately."""
        if self.is_current():
            work()
            return
        try:
            self.waiting.put_nowait(work)
        except Full:
            self.warn("does not keep up")

    def finish(self, last: Work, patience: float) -> bool:
        """Waits for the queued calls, runs `last` and ends the thread. Returns whether all that was done in time.

        Args:
            last: the last call.
            patience: seconds after which to give up.
        """
        done, deadline = threading.Event(), time.monotonic() + patience

        def run_last() -> None:
            self.over = True
            self._attempt(last)
            done.set()

        with contextlib.suppress(Full):
            self.waiting.put(run_last, timeout=patience)
        if not done.wait(max(0.0, deadline - time.monotonic())):
            self.over = True
            self.warn(f"did not finish within {patience:.0f} s")
        return done.is_set()

    def _work(self) -> None:
        while not self.over:
            self._attempt(self.waiting.get())

    def _attempt(self, work: Work) -> None:
        try:
            work()
        except BaseException as error:  # the run continues after any error; Ctrl-C reaches the main thread
            self.warn(f"{type(error).__name__}: {error}")

    def warn(self, trouble: str) -> None:
        """Logs a warning about the service, the first time it is called."""
        if not self.warned:
            self.warned = True
            log.warning("%s is in trouble (%s); the run continues, but its log may be incomplete", self.owner, trouble)
