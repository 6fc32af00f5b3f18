"""Measures a metric of images at several numbers of network calls."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.sample_metrics import SampleMetric
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.results import Records


@dataclass
class WithinCalls(Metric):
    """Measures a metric of images that the sampler makes within each number of network calls.

    The sampler takes the most steps that need no more calls an image: 10 steps within 10 calls for DDIM, 5 for Heun's
    method, whose last step needs one call. The result is named `NAME_withinCALLS`.

    Args:
        metric: the metric.
        calls: numbers of network calls an image, each at least 1.
    """

    metric: SampleMetric
    calls: list[int] = field(default_factory=lambda: [10, 50, 1000])

    def check(self, subject: Subject) -> None:
        if not self.calls or len(set(self.calls)) < len(self.calls):
            raise UserError(f"calls={self.calls} must name at least one number, and each once; use [10,50,1000]")
        for calls in self.calls:
            check_whole("calls", calls, 1, "give a number of network calls an image; use 10")
        for _, each in self._subjects(subject):
            self.metric.check(each)

    def check_images(self, subject: Subject) -> None:
        for _, each in self._subjects(subject):
            self.metric.check_images(each)

    def measure(self, subject: Subject) -> Records:
        records: Records = {}
        for calls, each in self._subjects(subject):
            found = self.metric.measure(each)
            records |= {_named(name, calls): {**record, "calls_at_most": calls} for name, record in found.items()}
        return records

    def result_names(self, subject: Subject) -> list[str]:
        """Returns the names of the results in results.json."""
        return [
            _named(name, calls) for calls, each in self._subjects(subject) for name in self.metric.result_names(each)
        ]

    def _subjects(self, subject: Subject) -> Iterator[tuple[int, Subject]]:
        """Yields each number of calls with the subject whose images need no more."""
        for calls in self.calls:
            yield calls, replace(subject, images=subject.images_within(calls), extracted={})


def _named(name: str, calls: int) -> str:
    return f"{name}_within{calls}"
