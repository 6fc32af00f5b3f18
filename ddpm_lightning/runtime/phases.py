"""How long each phase of training took: train, measure, draw, save."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Seconds by phase, added up until they are taken."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, phase: str, seconds: float) -> None:
        """Counts them in."""
        self.seconds[phase] += seconds

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Inside, the time counts as of this phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - start)

    def besides(self, phase: str) -> float:
        """Seconds of all other phases, so far."""
        return sum(seconds for name, seconds in self.seconds.items() if name != phase)

    def so_far(self) -> dict[str, float]:
        """Seconds by phase, which stay."""
        return dict(self.seconds)

    def restart(self, seconds: dict[str, float]) -> None:
        """Begins with these seconds alone."""
        self.seconds = defaultdict(float, seconds)

    def take(self) -> dict[str, float]:
        """What was added up, which then begins anew."""
        taken = self.so_far()
        self.restart({})
        return taken


PHASES = Phases()
"""Of this process: callbacks do not know each other."""
