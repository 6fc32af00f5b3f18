"""Work that may be slow or fail, and may not hold up or end the run: done one piece after another in a thread."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from queue import Full, Queue
from typing import Any

log = logging.getLogger(__name__)

Work = Callable[[], Any]

ROOM = 1000
"""Pieces of work that wait; when there are more, new ones are dropped."""


class Background:
    """A thread that does what it is given, in order. owner: whose troubles it tells, once."""

    def __init__(self, owner: str, room: int = ROOM) -> None:
        self.owner = owner
        self.waiting: Queue[Work] = Queue(room)
        self.warned = False
        self.over = False
        self.thread = threading.Thread(target=self._work, daemon=True, name=owner)
        self.thread.start()

    def is_here(self) -> bool:
        """Whether this is that thread."""
        return threading.current_thread() is self.thread

    def do(self, work: Work) -> None:
        """At some time, and returns at once; a part of what is being done, now."""
        if self.is_here():
            work()
            return
        try:
            self.waiting.put_nowait(work)
        except Full:
            self.warn("does not keep up")

    def finish(self, last: Work, patience: float) -> bool:
        """Does the rest and then the last piece of work, after which there is none; gives up after so many seconds.
        Whether all was done."""
        done, deadline = threading.Event(), time.monotonic() + patience

        def and_tell() -> None:
            self.over = True
            self._attempt(last)
            done.set()

        with contextlib.suppress(Full):
            self.waiting.put(and_tell, timeout=patience)
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
        except BaseException as error:  # whatever it is, the run goes on; Ctrl-C comes to the main thread
            self.warn(f"{type(error).__name__}: {error}")

    def warn(self, trouble: str) -> None:
        """Says what is wrong, the first time."""
        if not self.warned:
            self.warned = True
            log.warning(
                "%s is in trouble (%s); the run goes on, but its log there may lack something", self.owner, trouble
            )
