"""Metrics of images, such as FID: a score of the features that an extractor computes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import INCEPTION, Extracted, Extractor
from ddpm_lightning.metrics.jackknife import jackknife
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import Score, Value
from ddpm_lightning.runtime.results import Records, metric_name


@dataclass
class SampleMetric(Metric):
    """A metric of images: a score of their features.

    Args:
        score: computes the values from features.
        extractor: computes the features.
        names: names of the score's values with this extractor, in their order; [] takes the score's own names with the
            extractor's label, such as density_digits.
    """

    score: Score
    extractor: Extractor
    names: list[str] = field(default_factory=list)

    def check(self, subject: Subject) -> None:
        """Raises UserError if the metric cannot be measured. Quick, and called before images are generated."""
        if self.score.compares:
            subject.check_reference()
        self.score.check(subject.images.n, self.extractor.num_features, "generated")
        subject.images.check()

    def check_images(self, subject: Subject) -> None:
        """Raises UserError if there are too few real images. Also creates the folder for the generated images."""
        self.score.check_reference(self._real(subject), self.extractor.num_features)
        subject.images.open()

    def measure(self, subject: Subject) -> Records:
        """Returns records of results.json by name, on the first process, and {} on the others."""
        subject.images.prepare(subject.fabric)
        if not subject.fabric.is_global_zero:
            return {}
        values = self.values(subject.generated_features(self.extractor), self._real(subject))
        records = [self._record(value, subject) for value in values]
        return dict(zip(self.result_names(subject), records, strict=True))

    def result_names(self, subject: Subject) -> list[str]:
        """Returns the names of the results in results.json."""
        names = self.names or [f"{name}_{self.extractor.label}" for name in self.score.names]
        return [self._full_name(name, subject) for name in names]

    def values(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        """Returns the values of the score, in the order of their names."""
        return self.score(generated, real)

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


@dataclass
class JackknifedMetric(SampleMetric):
    """A metric of images with the standard error over the generated images, by the jackknife.

    Args:
        groups: how many groups of images are left out in turn; the score is computed 1 + groups times.

    Raises:
        UserError: groups is less than 2.
    """

    groups: int = 20

    def __post_init__(self) -> None:
        check_whole("groups", self.groups, 2, "20 give an error to 16 %")

    def check(self, subject: Subject) -> None:
        super().check(subject)
        fewest = subject.images.n - -(-subject.images.n // self.groups)
        self.score.check(fewest, self.extractor.num_features, "generated")

    def values(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        return jackknife(self.score, generated, real, self.groups)


@dataclass
class WithinCalls(Metric):
    """Measures a metric of images at several budgets of network calls per image.

    The sampler takes the most steps within a budget. 10 calls allow 10 steps of DDIM, but 5 steps of Heun's method,
    whose last step needs only one call. The result is named `NAME_withinCALLS`.

    Args:
        metric: the metric.
        calls: the budgets: numbers of network calls per image, each at least 1.
    """

    metric: SampleMetric
    calls: list[int] = field(default_factory=lambda: [10, 50, 1000])

    def check(self, subject: Subject) -> None:
        if not self.calls or len(set(self.calls)) < len(self.calls):
            raise UserError(f"calls={self.calls} must name at least one number, and each once; use [10,50,1000]")
        for calls in self.calls:
            check_whole("calls", calls, 1, "give a number of network calls per image; use 10")
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
        """Yields each number of calls, with a subject whose images take no more calls each."""
        for calls in self.calls:
            yield calls, replace(subject, images=subject.images_within(calls), extracted={})


def _named(name: str, calls: int) -> str:
    return f"{name}_within{calls}"


def check_extractor(config: dict[str, Any]) -> None:
    """Raises UserError if extractor= is given, and no metric takes it."""
    chosen = config.get("extractor")
    metrics = {name: node for name, node in config["metrics"].items() if node is not None}
    if metrics and chosen and chosen["_target_"] != INCEPTION["_target_"] and not _has(metrics, chosen):
        raise UserError(
            f"extractor= would have no effect on {', '.join(metrics)}; leave it out, or choose a metric of any "
            "features, such as metrics=[prdc]"
        )


def _has(node: Any, part: Any) -> bool:
    """Returns whether a node of the configuration is a part, or has it inside."""
    return node == part or (isinstance(node, dict) and any(_has(inner, part) for inner in node.values()))
