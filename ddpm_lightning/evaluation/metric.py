"""The base class of the metrics that evaluate.py measures."""

from abc import ABC, abstractmethod
from typing import ClassVar

from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.results import Records


class Metric(ABC):
    """Base class of metrics, which evaluate.py calls in the order `check`, `check_images`, `measure`.

    Attributes:
        generates: whether the results depend on how images are generated: on labels=, guidance= and clipping=.

    Example:
        >>> class Parameters(Metric):
        ...     def measure(self, subject: Subject) -> Records:
        ...         trained = subject.require_model("parameters")
        ...         count = sum(weight.numel() for weight in trained.model.parameters())
        ...         return {"parameters": {"value": float(count), **trained.origin}}
    """

    generates: ClassVar[bool] = True

    def check(self, subject: Subject) -> None:
        """Raises UserError if the metric cannot be measured. Must be quick: it is called for all metrics first."""

    def check_images(self, subject: Subject) -> None:
        """Raises UserError if the images do not suit the metric. May read them. The first process calls it."""

    @abstractmethod
    def measure(self, subject: Subject) -> Records:
        """Measures the metric. Every process calls it.

        Args:
            subject: the model, the images and what they are compared with.

        Returns:
            On the first process, the records of results.json by name: a value and how it was measured. On all other
            processes, {}.
        """
