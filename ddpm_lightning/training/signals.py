"""Being asked to stop: Ctrl-C, SIGTERM, the warnings of a cluster. The step is finished, the run saved and ended."""

import signal
import threading
from types import FrameType
from typing import Any

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(Exception):
    """The run was asked to stop, by this signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM, 138 and 140 for SIGUSR1, 2."""
        return 128 + self.signum


class StopRequest:
    """Remembers the first signal that asks to stop; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.may_interrupt = True
        self.before: dict[int, Any] = {}

    def listen(self, alone: bool) -> None:
        """From now on. alone: whether this is the only process, so that it may stop without asking the others."""
        self.may_interrupt = alone
        if threading.current_thread() is not threading.main_thread():
            return  # where Python gives no signals
        for signum in ASKING:
            current = signal.getsignal(signum)
            if current != self._hear:
                self.before[signum] = current
                signal.signal(signum, self._hear)

    def forget(self) -> None:
        """Puts back what listened before."""
        for signum, handler in self.before.items():
            signal.signal(signum, handler)
        self.before.clear()
        self.signum = None

    def check(self) -> None:
        """Raises Interrupted if asked to stop, between two steps of a long work that can be done again."""
        if self.signum is not None and self.may_interrupt:
            raise Interrupted(self.signum)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = self.signum or signum


STOP = StopRequest()
"""Of this process: signals come to it as a whole."""
