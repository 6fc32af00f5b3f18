"""Differences between the numbers of runs, judged by their errors."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddpm_lightning.studies.report.rows import with_error
from ddpm_lightning.studies.report.single.numbers import MeasuredNumber

Z = 1.96
"""A difference of normal numbers exceeds Z of its standard errors by chance in 1 of 20 cases."""

SAME_NOISE = ("image_seed", "num_images")
"""The parts of a record that are equal if images of two runs start from the same noise."""


@dataclass(frozen=True)
class NumberDifference:
    """A number of a run minus that of the first run.

    Args:
        value: The difference.
        error: Its standard error; None if it is not known.
        paired: Whether the error is of pairs of images from the same noise.
    """

    value: float
    error: float | None
    paired: bool = False

    @property
    def verdict(self) -> str:
        """The judgement in words, such as "beyond noise"."""
        if not math.isfinite(self.value):
            return "not a number"
        if self.value == 0:
            return "equal"
        if self.error is None:
            return "error not known"
        return "beyond noise" if abs(self.value) > Z * self.error else "within noise"

    def __str__(self) -> str:
        known = self.error is not None and math.isfinite(self.value)
        return with_error(self.value, self.error or 0.0) if known else f"{self.value:+.4g}"


@dataclass(frozen=True)
class ComparedNumber:
    """A number that several runs have, or some of them.

    Args:
        name: Its name.
        numbers: The number of each run; None for a run without it.
        differences: The difference of each run from the first one; None where one of the two lacks the number.
    """

    name: str
    numbers: tuple[MeasuredNumber | None, ...]
    differences: tuple[NumberDifference | None, ...]


def compared(
    runs: Sequence[Mapping[str, MeasuredNumber]], paired: Sequence[Mapping[str, float]]
) -> Iterator[ComparedNumber]:
    """Yields every number that a run has.

    Args:
        runs: The numbers of each run by name.
        paired: Of each run, standard errors of differences from the first run over pairs of images, by name.
    """
    for name in dict.fromkeys(name for numbers in runs for name in numbers):
        found = tuple(numbers.get(name) for numbers in runs)
        errors = [each.get(name) for each in paired]
        differences = [_difference(found[0], *each) for each in zip(found, errors, strict=True)]
        yield ComparedNumber(name, found, tuple(differences))


def _difference(
    first: MeasuredNumber | None, other: MeasuredNumber | None, paired: float | None
) -> NumberDifference | None:
    if first is None or other is None or first is other:
        return None
    if paired is not None:
        return NumberDifference(other.value - first.value, paired, paired=True)
    errors = [each.error for each in (first, other) if each.error is not None]
    error = math.hypot(*errors) if len(errors) == 2 else None
    return NumberDifference(other.value - first.value, error)


def share_noise(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether the images of two records start from the same noise: one seed and one number of images."""
    return all(key in first and first[key] == other.get(key) for key in SAME_NOISE)
