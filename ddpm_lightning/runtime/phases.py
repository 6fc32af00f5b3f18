"""Measures how long each phase of training takes: train, measure, draw, save."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Adds up the seconds of each phase until they are taken."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, phase: str, seconds: float) -> None:
        """Adds seconds to a phase."""
        self.seconds[phase] += seconds

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the time that the block takes to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - start)

    def total_except(self, phase: str) -> float:
        """Returns the seconds of all phases except this one."""
        return sum(seconds for name, seconds in self.seconds.items() if name != phase)

    def so_far(self) -> dict[str, float]:
        """Returns the seconds of each phase."""
        return dict(self.seconds)

    def restart(self, seconds: dict[str, float]) -> None:
        """Replaces all seconds by these."""
        self.seconds = defaultdict(float, seconds)

    def take(self) -> dict[str, float]:
        """Returns the seconds of each phase, and sets them to zero."""
        taken = self.so_far()
        self.restart({})
        return taken


PHASES = Phases()
"""The phases of this process, which all callbacks share."""
