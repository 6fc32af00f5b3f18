"""Times sides in turns, so that a slow phase of the machine slows all of them."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.device import finish

Side = Callable[[], Any]
"""A piece of work that is timed."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of `rounds` measurements."""

    median: float
    lower: float
    upper: float
    rounds: int


def spread(values: list[float]) -> Spread:
    """Returns median and quartiles of values; for one value, that value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper, len(values))


def seconds(side: Side, repeats: int = 1) -> float:
    """Returns the mean seconds of a call over the repeats."""
    finish()
    start = time.perf_counter()
    for _ in range(repeats):
        side()
    finish()
    return (time.perf_counter() - start) / repeats


def take_turns(sides: Mapping[str, Side], rounds: int, at_least: float = 0.0) -> dict[str, list[float]]:
    """Times each side in each round, after one warm-up of each. The order is A B C, C B A, A B C ….

    Args:
        sides: The pieces of work, by name.
        rounds: Number of rounds.
        at_least: A side that takes fewer seconds is repeated, and its turn is the mean.

    Returns:
        Seconds of each side, round by round.
    """
    repeats = {name: _repeats(side, at_least) for name, side in sides.items()}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for name in in_turns(sides, rounds):
        found[name].append(seconds(sides[name], repeats[name]))
    return found


def in_turns(names: Collection[str], rounds: int) -> Iterator[str]:
    """Yields the sides in the order A B C, C B A, A B C …."""
    for turn in range(rounds):
        yield from list(names)[:: 1 if turn % 2 == 0 else -1]


def _repeats(side: Side, at_least: float) -> int:
    side()
    return max(1, math.ceil(at_least / seconds(side))) if at_least > 0 else 1
