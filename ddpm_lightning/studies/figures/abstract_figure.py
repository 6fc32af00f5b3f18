"""The base classes of all figures, and what figures have in common: checks, drawing, origins of numbers."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from ddpm_lightning.errors import UserError, check_at_most, check_whole, counted
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.metrics.extractor import Extracted, Extractor
from ddpm_lightning.metrics.scores import FrechetDistance, Value
from ddpm_lightning.runtime.pictures import check_drawable
from ddpm_lightning.runtime.results import Records
from ddpm_lightning.studies.figures.canvas import LARGEST_SIDE, Cells, pixels_across, save_curves, save_grid
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import FeatureVectors, Images


class Figure(Metric):
    """Draws a figure into the run directory, and returns the numbers behind it.

    A figure is a metric: `figure.py` calls `check`, then `check_images`, then `measure`, the last one on all
    processes. A figure that one process draws alone is a `SingleProcessFigure`.

    Attributes:
        name: The figure's name in options, in file names and in results.json.
        usual: The default of `t`, as shares of T.
        measures_distance: Whether the figure measures a Fréchet distance to real images if it has an extractor.
        extractor: Computes the features that the figure compares. None leaves out what needs features.
        t: The steps to show, in 1..T. None means `usual`.
    """

    name: ClassVar[str]
    usual: ClassVar[tuple[float, ...]] = ()
    measures_distance: ClassVar[bool] = False
    extractor: Extractor | None = None
    t: list[int] | None = None

    @abstractmethod
    def check(self, subject: Subject) -> None:
        """Raises UserError if the figure cannot be drawn, before any work begins."""

    def check_images(self, subject: Subject) -> None:
        """Loads or computes the features of the real images, if a distance is measured."""
        if self.measures_distance and self.extractor is not None:
            real = subject.reference_features(self.extractor)
            FrechetDistance().check_reference(real, self.extractor.num_features)

    @abstractmethod
    def measure(self, subject: Subject) -> Records:
        """Draws the figure, and returns its numbers on the first process, {} on the others."""

    def trained(self, subject: Subject) -> Trained:
        """Returns the model with its data. Raises UserError if there is none."""
        return subject.require_model(self.name)

    def generated(self, subject: Subject) -> Generated:
        """Returns the recipe by which images are generated. Raises UserError if the user gave images instead."""
        if not isinstance(subject.images, Generated):
            raise UserError(f"{self.name} shows how a model generates images, and images= gives finished ones; omit it")
        return subject.images

    def chain(self, subject: Subject) -> Chain:
        """Returns the reverse chain that generates the images."""
        return Chain(subject, self.generated(subject), doing=self.name)

    def images_of(self, subject: Subject, split: str, first: int | None = None) -> Images:
        """Returns the first images of a split (None: all of them) on the device: [n, c, h, w]."""
        batches = self.trained(subject).data.in_order(split, subject.fabric.device, first=first)
        return torch.cat([batch.x_0 for batch in batches])

    def times(self, subject: Subject) -> list[int]:
        """Returns the steps t to show, each once."""
        return steps_at(self.usual, self.trained(subject).model.process.T) if self.t is None else self.t

    def option(self, key: str) -> str:
        """Returns the full name of an option of this figure, as the user types it."""
        return f"figure.{self.name}.{key}"

    def check_model(self, subject: Subject) -> Trained:
        """Checks that the figure can be drawn of the model, and returns the model with its data.

        Raises:
            UserError: There is no model, its data are not pictures, or the extractor takes images of another shape.
        """
        trained = self.trained(subject)
        check_drawable(trained.data.channels, f"{self.name} draws pictures only")
        if self.extractor is not None:
            shape = (1, trained.data.channels, *trained.data.size)
            self.extractor.extract(torch.zeros(shape, dtype=torch.uint8, device=self.extractor.device))
        return trained

    def check_count(self, key: str, least: int, most: int | None = None, reason: str = "") -> None:
        """Raises UserError unless the option `key` is a whole number in least..most. reason: why not more."""
        value, advice = getattr(self, key), f"use {getattr(type(self), key)}"
        check_whole(self.option(key), value, least, advice)
        if most is not None:
            check_at_most(self.option(key), value, most, reason or advice)

    def check_steps(self, key: str, steps: Sequence[int], trained: Trained, least: int = 1) -> None:
        """Raises UserError unless the steps are different whole numbers in least..T, at least one of them."""
        for t in steps:
            check_whole(self.option(key), t, least, "t is a step of the chain")
            check_at_most(self.option(key), t, trained.model.process.T, "the chain has no more steps")
        if len(set(steps)) < max(len(steps), 1):
            raise UserError(f"{self.option(key)}={list(steps)} is empty or names a step twice; give each once")

    def check_grid(self, trained: Trained, rows: int, columns: int) -> None:
        """Raises UserError if a grid of rows × columns images would exceed LARGEST_SIDE pixels."""
        height, width = trained.data.size
        largest = max(pixels_across(rows, height), pixels_across(columns, width))
        if largest > LARGEST_SIDE:
            raise UserError(
                f"{self.name} would be a grid of {counted(rows, 'row')} of {counted(columns, 'image')}, {largest} "
                f"pixels where {LARGEST_SIDE} are the most; ask for fewer"
            )

    def check_distance(self, n: int, which: str) -> None:
        """Raises UserError if n images are too few for a distance, and one is to be measured."""
        if self.extractor is not None:
            FrechetDistance().check(n, self.extractor.num_features, which)

    def distance(self, subject: Subject, extractor: Extractor, features: FeatureVectors) -> Value:
        """Returns the Fréchet distance of features to those of the real images, with a warning if it is implausible."""
        (value,) = FrechetDistance()(Extracted(features, features), subject.reference_features(extractor))
        return value

    def draw_floor(self, axes: Any, subject: Subject, extractor: Extractor, n: int) -> None:
        """Draws a line at the expected distance of n fresh real images, if it is known."""
        floor = subject.reference_features(extractor).floor(n)
        if floor is not None:
            axes.axhline(floor, color="black", linestyle="--", label="as many fresh real images, about")

    def save_curves(self, subject: Subject, figure: Any, sentence: str, suffix: str = "") -> None:
        """Writes curves with a sentence below them as NAME + suffix + .png."""
        save_curves(figure, sentence, subject.run_dir / f"{self.name}{suffix}.png")

    def save_grid(
        self,
        subject: Subject,
        cells: Cells,
        columns: Sequence[str],
        sentence: str,
        suffix: str,
        rows: Sequence[str] = (),
    ) -> None:
        """Writes a grid of images, with titles and a sentence below it, as NAME + suffix + .png."""
        save_grid(cells, columns, rows, sentence, subject.run_dir / f"{self.name}{suffix}.png")

    def origin(self, subject: Subject, extractor: Extractor | None = None) -> dict[str, Any]:
        """Returns the origin of a number for results.json: model, sampler, and the extractor if it was used."""
        by_extractor = {} if extractor is None else extractor.origin
        by_model = {} if subject.trained is None else subject.trained.origin
        return {**by_extractor, **by_model, **subject.images.origin}


class SingleProcessFigure(Figure):
    """A figure that the first process draws alone, while the others wait.

    Example:
        >>> class MeanImage(SingleProcessFigure):
        ...     '''Draws the mean of the test images, and measures its brightness.'''
        ...
        ...     name = "mean_image"
        ...
        ...     def check(self, subject):
        ...         self.check_model(subject)
        ...
        ...     def draw(self, subject):
        ...         mean = self.images_of(subject, "test").mean(0, keepdim=True)
        ...         pixels = self.trained(subject).data.pixels.to_bytes(mean)
        ...         self.save_grid(subject, [pixels], ["mean"], "The mean of the test images.", suffix="")
        ...         return {"mean_image_brightness": {"value": float(mean.mean()), **self.origin(subject)}}
        >>> MeanImage().option("t")
        'figure.mean_image.t'
    """

    def measure(self, subject: Subject) -> Records:
        """Calls `draw` on the first process, and returns {} on the others."""
        return self.draw(subject) if subject.fabric.is_global_zero else {}

    @abstractmethod
    def draw(self, subject: Subject) -> Records:
        """Draws the figure, and returns its numbers by name."""


def steps_at(shares: Sequence[float], T: int) -> list[int]:
    """Returns the steps at these shares of a chain of T steps, each once. Share 0 is t = 0, any other at least 1."""
    return list(dict.fromkeys(max(round(share * T), int(share > 0)) for share in shares))
