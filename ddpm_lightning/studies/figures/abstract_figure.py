"""What every figure is: measured like a metric of evaluate.py, and drawn."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.metrics.extractor import Extracted, Extractor
from ddpm_lightning.metrics.scores import FrechetDistance, Value
from ddpm_lightning.runtime.pictures import check_drawable
from ddpm_lightning.studies.figures.canvas import LARGEST, side
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import FeatureVectors, Images


class Figure(ABC):
    """Draws into the run directory, and returns the numbers behind the picture.

    name: of its files, and of its option. extractor: tells near from far; without one, what needs it is left out.
    t: the steps that it shows; None for the usual ones, which are the shares `usual` of T. A figure is asked as a
    metric is: first check, then look, then measure.
    """

    name: ClassVar[str]
    usual: ClassVar[tuple[float, ...]] = ()
    extractor: Extractor | None = None
    t: list[int] | None = None

    @abstractmethod
    def check(self, subject: Subject) -> None:
        """Raises UserError where the figure cannot be had, before the work begins."""

    def look(self, subject: Subject) -> None:
        """There is nothing more to see."""

    @abstractmethod
    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Draws, and returns the numbers by name, each with what it is a number of, on the first process."""

    def trained(self, subject: Subject) -> Trained:
        """The model and its data. Raises UserError where there is none."""
        return subject.require_model(self.name)

    def check_model(self, subject: Subject) -> Trained:
        """The same. Raises UserError where its images are no pictures, too, or the extractor is of other images."""
        trained = self.trained(subject)
        check_drawable(trained.data.channels, "figures are of such images alone")
        if self.extractor is not None:
            shape = (1, trained.data.channels, *trained.data.size)
            self.extractor.extract(torch.zeros(shape, dtype=torch.uint8, device=self.extractor.device))
        return trained

    def images_of(self, subject: Subject, split: str, first: int | None = None) -> Images:
        """The images of a split of the data, or the first so many: [n, c, h, w], on the device."""
        batches = self.trained(subject).data.in_order(split, subject.fabric.device, first=first)
        return torch.cat([batch.x_0 for batch in batches])

    def generated(self, subject: Subject) -> Generated:
        """How images are made. Raises UserError where they are given instead."""
        if not isinstance(subject.images, Generated):
            raise UserError(f"{self.name} shows how a model makes images, and images= are made already; leave it out")
        return subject.images

    def chain(self, subject: Subject) -> Chain:
        """The chain that the figure walks."""
        return Chain(subject, self.generated(subject), doing=self.name)

    def option(self, key: str) -> str:
        """How the user writes it."""
        return f"figure.{self.name}.{key}"

    def times(self, subject: Subject) -> list[int]:
        """The t that the figure shows, each once."""
        return steps_at(self.usual, self.trained(subject).model.process.T) if self.t is None else self.t

    def check_steps(self, key: str, steps: Sequence[int], trained: Trained, least: int = 1) -> None:
        """Raises UserError unless every t is a step of the chain, and none is named twice."""
        for t in steps:
            check_whole(self.option(key), t, least, "t counts the steps of the chain")
            check_at_most(self.option(key), t, trained.model.process.T, "the chain is no longer")
        if len(set(steps)) < max(len(steps), 1):
            raise UserError(f"{self.option(key)}={list(steps)} is empty or names a step twice; give each once")

    def check_grid(self, trained: Trained, rows: int, columns: int) -> None:
        """Raises UserError where the picture would be larger than a picture can be."""
        height, width = trained.data.size
        largest = max(side(rows, height), side(columns, width))
        if largest > LARGEST:
            raise UserError(
                f"{self.name} would be drawn as {rows} rows of {columns} images, {largest} pixels where {LARGEST} are "
                "the most; ask for fewer"
            )

    def check_distance(self, n: int, which: str) -> None:
        """Raises UserError where n images are too few for a distance, if one is to be measured."""
        if self.extractor is not None:
            FrechetDistance().check(n, self.extractor.num_features, which)

    def look_at_reference(self, subject: Subject) -> None:
        """Sees to the features of the real images, if a distance is to be measured."""
        if self.extractor is not None:
            real = subject.reference_features(self.extractor)
            FrechetDistance().check_reference(real, self.extractor.num_features)

    def distance(self, subject: Subject, extractor: Extractor, features: FeatureVectors) -> Value:
        """The Fréchet distance to the real images; with a warning where it cannot be right."""
        (value,) = FrechetDistance()(Extracted(features, features), subject.reference_features(extractor))
        return value

    def draw_floor(self, axes: Any, subject: Subject, extractor: Extractor, n: int) -> None:
        """A line at the distance that n fresh real images would have, if that is known."""
        floor = subject.reference_features(extractor).floor(n)
        if floor is not None:
            axes.axhline(floor, color="black", linestyle="--", label="as many fresh real images, about")

    def origin(self, subject: Subject, extractor: Extractor | None = None) -> dict[str, Any]:
        """What results.json says of a number: the model, the sampler, and the extractor if it has a part in it."""
        judged_by = {} if extractor is None else extractor.origin
        trained = {} if subject.trained is None else subject.trained.origin
        return {**judged_by, **trained, **subject.images.origin}


def steps_at(shares: Sequence[float], T: int) -> list[int]:
    """The steps at these shares of a chain of T, each once; 0 stays 0, every other is at least 1."""
    return list(dict.fromkeys(max(round(share * T), int(share > 0)) for share in shares))
