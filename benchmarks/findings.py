"""What a benchmark found: comparisons with others, plain figures, and how something grows."""

from dataclasses import dataclass, field

from benchmarks.measure import Spread, spread


@dataclass(frozen=True)
class Comparison:
    """ours, theirs: medians. ratio: theirs/ours round by round, so that more than 1 is better. target: its least."""

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
    """Two sides that took turns, of whose numbers less is better."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Comparison(what, *sides, spread(ours).median, spread(theirs).median, unit, spread(ratios), target)


@dataclass(frozen=True)
class Figure:
    """A number that stands alone. limit: the most that it may be."""

    what: str
    value: Spread
    unit: str
    limit: float | None = None


@dataclass(frozen=True)
class Series:
    """How a cost grows: values[i] at places[i] of what the series goes along, ascending."""

    what: str
    along: str
    places: list[float]
    values: list[Spread]
    unit: str


@dataclass
class Findings:
    """Everything that one benchmark found."""

    comparisons: list[Comparison] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
