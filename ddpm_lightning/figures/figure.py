"""What every figure is: measured like a metric of evaluate.py, and drawn."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.metrics.extractor import Extractor
from ddpm_lightning.training.evaluation.images import Generated
from ddpm_lightning.training.evaluation.subject import Subject, Trained
from ddpm_lightning.training.pictures import check_drawable


class Figure(ABC):
    """Draws into the run directory, and returns the numbers behind the picture.

    name: of its files, and of its option. It is asked as a metric is: first check, then look, then measure.
    """

    name: ClassVar[str]

    @abstractmethod
    def check(self, subject: Subject) -> None:
        """Raises UserError where the figure cannot be had, before the work begins."""

    def look(self, subject: Subject) -> None:
        """There is nothing more to see."""

    @abstractmethod
    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Draws, and returns the numbers by name, each with what it is a number of, on the first process."""

    def trained(self, subject: Subject) -> Trained:
        """The model and its data. Raises UserError where there is none, or its images are no pictures."""
        trained = subject.require_model(self.name)
        check_drawable(trained.data.channels, "figures are of such images alone")
        return trained

    def generated(self, subject: Subject) -> Generated:
        """How images are made. Raises UserError where they are given instead."""
        if not isinstance(subject.images, Generated):
            raise UserError(f"{self.name} shows how a model makes images, and images= are made already; leave it out")
        return subject.images

    def needed(self, extractor: Extractor | None) -> Extractor:
        """The extractor. Raises UserError where none was chosen."""
        if extractor is None:
            raise UserError(
                f"{self.name} measures images by their features; add the extractor of the data, extractor=digits, "
                "fashion_mnist or fashion_mnist16, or extractor=inception"
            )
        return extractor

    def check_steps(self, steps: Sequence[int], trained: Trained, least: int = 1) -> None:
        """Raises UserError unless every t is a step of the chain."""
        for t in steps:
            check_whole(f"figure.{self.name}.t", t, least, "t counts the steps of the chain")
            check_at_most(f"figure.{self.name}.t", t, trained.model.process.T, "the chain is no longer")
        if len(set(steps)) < max(len(steps), 1):
            raise UserError(f"figure.{self.name}.t={list(steps)} is empty or names a step twice; give each once")
