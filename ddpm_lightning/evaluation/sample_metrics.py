"""Metrics of generated images, as evaluate.py asks for them."""

from dataclasses import dataclass, field
from typing import Any

from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extractor
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import Score, Value
from ddpm_lightning.runtime.results import metric_name


@dataclass
class SampleMetric:
    """names: what the score's numbers are called with this extractor, in their order."""

    score: Score
    extractor: Extractor
    names: list[str] = field(default_factory=list)

    def check(self, subject: Subject) -> None:
        """Raises UserError where the metric cannot be had, before an hour is spent on images: at once."""
        if self.score.compares:
            subject.check_reference()
        self.score.check(subject.images.n, self.extractor.num_features, "generated")
        subject.images.check()

    def look(self, subject: Subject) -> None:
        """The same, with a look at the real images, which may take a while."""
        self.score.check_reference(self._real(subject), self.extractor.num_features)
        subject.images.open()

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """The numbers by name, each with what it is a number of. One process measures."""
        subject.images.prepare(subject.fabric)
        if not subject.fabric.is_global_zero:
            return {}
        values = self.score(subject.generated_features(self.extractor), self._real(subject))
        records = [self._record(value, subject) for value in values]
        return dict(zip(self.result_names(subject), records, strict=True))

    def result_names(self, subject: Subject) -> list[str]:
        """The names of its numbers in results.json."""
        return [self._full_name(name, subject) for name in self.names]

    def _real(self, subject: Subject) -> Reference:
        return subject.reference_features(self.extractor) if self.score.compares else Reference()

    def _full_name(self, name: str, subject: Subject) -> str:
        compared_with = subject.reference_name if self.score.compares else None
        suffix = self.score.suffix + self.extractor.suffix + subject.images.suffix
        return metric_name(name, subject.images.n, compared_with, suffix)

    def _record(self, value: Value, subject: Subject) -> dict[str, Any]:
        reference = {"reference": subject.reference_described}
        return {
            **value.stated(),
            "num_images": subject.images.n,
            **(reference if self.score.compares else {}),
            "settings": vars(self.score),
            **self.extractor.origin,
            **subject.images.origin,
        }
