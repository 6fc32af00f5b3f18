"""Work that may be slow or fail, and may not hold up or end the run: done one piece after another in a thread."""

import logging
import threading
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
        threading.Thread(target=self._work, daemon=True, name=owner).start()

    def do(self, work: Work) -> None:
        """At some time. Returns at once."""
        try:
            self.waiting.put_nowait(work)
        except Full:
            self.warn("does not keep up")

    def finish(self, last: Work, patience: float) -> None:
        """Does the rest and then the last piece of work; gives up after so many seconds."""
        done = threading.Event()

        def and_tell() -> None:
            try:
                last()
            finally:
                done.set()

        self.do(and_tell)
        if not done.wait(patience):
            self.warn(f"did not finish within {patience:.0f} s")

    def _work(self) -> None:
        while True:
            work = self.waiting.get()
            try:
                work()
            except Exception as error:  # whatever it is, the run goes on
                self.warn(f"{type(error).__name__}: {error}")

    def warn(self, trouble: str) -> None:
        """Says what is wrong, the first time."""
        if not self.warned:
            self.warned = True
            log.warning(
                "%s is in trouble (%s); the run goes on, but its log there may lack something", self.owner, trouble
            )
