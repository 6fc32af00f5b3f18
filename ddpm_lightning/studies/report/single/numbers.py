"""The numbers of a run, each with its error."""

import math
from dataclasses import dataclass
from typing import Any

from ddpm_lightning.runtime.results import SPREADS
from ddpm_lightning.studies.report.rows import with_error
from ddpm_lightning.studies.runs.trained_run import Run

ABOUT = ("unit", "num_images", "split", "reference", "sampler_steps", "weights", "step", "image_seed")
"""The parts of a record that say how a number was measured, and are shown beside it."""


@dataclass(frozen=True)
class MeasuredNumber:
    """A number of results.json.

    Args:
        name: Its name.
        record: Its record: the value, and how it was measured.
    """

    name: str
    record: dict[str, Any]

    @property
    def value(self) -> float:
        return float(self.record["value"])

    @property
    def spread(self) -> str | None:
        """The key of its error in the record; None if it has none."""
        return next((key for key in SPREADS if self.record.get(key)), None)

    @property
    def error(self) -> float | None:
        """Its error: a standard error, or the standard deviation over splits or subsets."""
        return float(self.record[self.spread]) if self.spread else None

    @property
    def error_of(self) -> str:
        """The kind of the error, such as "over images"; "" without an error."""
        return SPREADS[self.spread] if self.spread else ""

    @property
    def about(self) -> str:
        """How it was measured, such as "bits/dim, 297 images, split test, weights ema"."""
        known = [(key, self.record[key]) for key in ABOUT if self.record.get(key) is not None]
        plain = {"unit": "{}", "num_images": "{} images", "reference": "{}"}
        return ", ".join(plain.get(key, f"{key.replace('_', ' ')} {{}}").format(value) for key, value in known)

    def __str__(self) -> str:
        if self.error is None or not math.isfinite(self.value):
            return f"{self.value:.5g}"
        return with_error(self.value, self.error)


def numbers_of(run: Run) -> dict[str, MeasuredNumber]:
    """Returns the numbers in a run's results.json by name."""
    return {name: MeasuredNumber(name, record) for name, record in run.metrics.items()}
