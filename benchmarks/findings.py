"""The findings of a benchmark: comparisons, single numbers, and series."""

from dataclasses import dataclass, field

from benchmarks.measure import Spread, spread


@dataclass(frozen=True)
class Comparison:
    """A comparison of two sides.

    Args:
        ours: Median of our side.
        theirs: Median of the other side.
        ratio: theirs/ours of each round; more than 1 is better.
        target: The least ratio that we aim at.
    """

    what: str
    our_name: str
    their_name: str
    ours: float
    theirs: float
    unit: str
    ratio: Spread
    target: float | None = None


def compare(
    what: str,
    sides: tuple[str, str],
    ours: list[float],
    theirs: list[float],
    unit: str = "s",
    target: float | None = None,
) -> Comparison:
    """Compares two sides that took turns. Smaller numbers are better."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Comparison(what, *sides, spread(ours).median, spread(theirs).median, unit, spread(ratios), target)


@dataclass(frozen=True)
class Figure:
    """A single number. limit: the largest value that we accept."""

    what: str
    value: Spread
    unit: str
    limit: float | None = None


@dataclass(frozen=True)
class Series:
    """Growth of a cost: values[i] at places[i], ascending."""

    what: str
    along: str
    places: list[float]
    values: list[Spread]
    unit: str


@dataclass
class Findings:
    """All findings of one benchmark."""

    comparisons: list[Comparison] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
