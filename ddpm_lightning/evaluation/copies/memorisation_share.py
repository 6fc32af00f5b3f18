"""The share of generated images that are nearer to a training image than held-out images are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ddpm_lightning.configuration.build import EvaluationData, real_images
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.memorisation import nearest, share_nearer
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.runtime.results import Records, metric_name
from ddpm_lightning.typing import FeatureVectors, Pixels, SomeVectors


@dataclass
class MemorisationShare(Metric):
    """How often a generated image is nearer to a training image than a test image is: ½ if it is as new, 1 for copies.

    If training mirrors its images, mirrored images count as training images, too.

    Args:
        extractor: computes the features in which distances are measured.
    """

    extractor: Extractor

    def check(self, subject: Subject) -> None:
        data = subject.require_model("memorisation").data
        for which, count in (("generated", subject.images.n), ("test", len(data.images("test")))):
            if count < 2:
                raise UserError(f"a share of {count} {which} image means nothing; memorisation needs more of them")
        subject.images.check()

    def check_images(self, subject: Subject) -> None:
        subject.images.open()

    def measure(self, subject: Subject) -> Records:
        """Returns the share by the name of the result, on the first process, and {} on the others."""
        subject.images.prepare(subject.fabric)
        if not subject.fabric.is_global_zero:
            return {}
        (name,) = self.result_names(subject)
        return {name: {**self._share(subject).stated(), **self._facts(subject)}}

    def result_names(self, subject: Subject) -> list[str]:
        """Returns the name of the result in results.json."""
        suffix = self.extractor.suffix + subject.images.suffix
        return [metric_name(f"memorisation_{self.extractor.label}", subject.images.n, None, suffix)]

    def _share(self, subject: Subject) -> Value:
        ours = subject.generated_features(self.extractor).features
        held_out = subject.features_of(self.extractor, "test").features
        assert held_out is not None
        distances, _ = nearest(torch.cat([ours, held_out]), self._training_features(subject), 1)
        return share_nearer(distances[: len(ours), 0], distances[len(ours) :, 0])

    def _training_features(self, subject: Subject) -> Iterator[SomeVectors]:
        data = subject.require_model("memorisation").data
        if not data.flip:
            features: FeatureVectors | None = subject.features_of(self.extractor, "train").features
            assert features is not None
            return iter([features])
        return (extract_all(self.extractor, [batch]).features for batch in training_images(data))

    def _facts(self, subject: Subject) -> dict[str, Any]:
        return {
            "num_images": subject.images.n,
            "mirrored_too": subject.require_model("memorisation").data.flip,
            **self.extractor.origin,
            **subject.images.origin,
        }


def training_images(data: EvaluationData) -> Iterator[Pixels]:
    """Yields batches of training images, then all of them mirrored if training mirrors."""
    yield from real_images(data, "train")
    if data.flip:
        yield from (batch.flip(-1) for batch in real_images(data, "train"))
