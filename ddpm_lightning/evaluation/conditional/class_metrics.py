"""Metrics of images whose class was asked for: whether they show it, and how far each class is from the data's."""

from dataclasses import dataclass

import torch

from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.image_sets import Generated, Given
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extracted, Extractor
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import FrechetDistance
from ddpm_lightning.runtime.results import MeanAndError, Records, metric_name
from ddpm_lightning.training.labelling import Labelling, default_labelling
from ddpm_lightning.typing import Labels


@dataclass
class ClassMetric(Metric):
    """Base class of metrics of images by their class.

    Args:
        extractor: a classifier of the data's classes.
        name: the start of the result's name.

    Example:
        >>> class ImagesOfFirstClass(ClassMetric):
        ...     def measure(self, subject: Subject) -> Records:
        ...         count = int((self.classes(subject) == 0).sum())
        ...         return {"images_of_first_class": {"value": float(count), **subject.images.origin}}
    """

    extractor: Extractor
    name: str

    def check(self, subject: Subject) -> None:
        """Raises UserError if the images have no classes, or the extractor knows others."""
        names = subject.require_model(self.name).model.conditioning.class_names
        if isinstance(subject.images, Given):
            raise UserError(f"{self.name} needs to know each image's class, and images= gives none; leave images= out")
        if not names:
            raise UserError(
                f"{self.name} needs images of classes, and this model was trained with conditioning=none; leave the "
                "metric out, or train with conditioning=class"
            )
        data = subject.require_model(self.name).data
        known = self.extractor.extract(torch.zeros(1, data.channels, *data.size, dtype=torch.uint8)).logits.shape[1]
        if known != len(names):
            raise UserError(
                f"{self.name}: {self.extractor.name} knows {known} classes, and this model {len(names)}; choose the "
                "classifier of its data set"
            )
        subject.images.check()

    def check_images(self, subject: Subject) -> None:
        subject.images.open()

    def classes(self, subject: Subject) -> Labels:
        """Returns the class that each image was asked to show: [n]. Raises UserError if an image has none."""
        y = self._labels(subject).of(range(subject.images.n))
        if y is None or bool((y < 0).any()):
            raise UserError(f"{self.name} needs the class of each image, and labels= has null; leave null out")
        return y

    def _labels(self, subject: Subject) -> Labelling:
        if isinstance(subject.images, Generated):
            return subject.images.labels
        trained = subject.require_model(self.name)  # its images do not exist before its training
        return default_labelling(trained.data, trained.model.conditioning, subject.seed)

    def generated(self, subject: Subject) -> Extracted | None:
        """Returns the features of the images on the first process, which are generated first; None on the others."""
        subject.images.prepare(subject.fabric)
        return subject.generated_features(self.extractor) if subject.fabric.is_global_zero else None

    def full_name(self, subject: Subject, compared_with: str | None, part: str = "") -> str:
        """Returns the name of a result in results.json."""
        suffix = self.extractor.suffix + subject.images.suffix
        return metric_name(self.name + part, subject.images.n, compared_with, suffix)


@dataclass
class ClassAccuracy(ClassMetric):
    """The share of images that a classifier assigns to the class that was asked for."""

    def measure(self, subject: Subject) -> Records:
        extracted = self.generated(subject)
        if extracted is None:
            return {}
        agrees = extracted.logits.argmax(1) == self.classes(subject)
        record = {"num_images": subject.images.n, **self.extractor.origin, **subject.images.origin}
        (name,) = self.result_names(subject)
        return {name: {**MeanAndError.of(agrees.float()).stated(), **record}}

    def result_names(self, subject: Subject) -> list[str]:
        """Returns the name of the result in results.json."""
        return [self.full_name(subject, None)]


@dataclass
class DistanceByClass(ClassMetric):
    """The Fréchet distance of each class to the data's images of that class, and the mean over the classes.

    A class needs more images than the extractor has features, among the generated ones and in the split.
    """

    def check_images(self, subject: Subject) -> None:
        """Raises UserError if a class has too few images."""
        super().check_images(subject)
        names = subject.require_model(self.name).model.conditioning.class_names
        asked, real = (y.bincount(minlength=len(names)) for y in (self.classes(subject), self._real_classes(subject)))
        for k in asked.nonzero().flatten().tolist():
            for which, count in (("generated", int(asked[k])), ("real", int(real[k]))):
                FrechetDistance().check(count, self.extractor.num_features, f"{which} image of class {names[k]}")

    def measure(self, subject: Subject) -> Records:
        extracted = self.generated(subject)
        if extracted is None:
            return {}
        real = subject.features_of(self.extractor.to(subject.fabric.device), subject.split).features
        assert real is not None
        y, y_real = self.classes(subject), self._real_classes(subject)
        values = {}
        for k in sorted(set(y.tolist())):
            ours = Extracted(extracted.features[y == k], extracted.logits[y == k])
            (found,) = FrechetDistance()(ours, Reference(real[y_real == k]))
            values[self.full_name(subject, subject.split, f"_class{k}")] = found.value
        values[self.full_name(subject, subject.split, "_by_class")] = sum(values.values()) / len(values)
        record = {"num_images": subject.images.n, **self.extractor.origin, **subject.images.origin}
        return {name: {"value": value, **record} for name, value in values.items()}

    def _real_classes(self, subject: Subject) -> Labels:
        labels: Labels = subject.require_model(self.name).data.labels(subject.split)  # type: ignore[attr-defined]
        return labels
