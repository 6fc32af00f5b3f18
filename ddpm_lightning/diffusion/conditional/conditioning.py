"""Conditionings of a model: on nothing, or on the class y of an image."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from ddpm_lightning.errors import UserError, check_interval
from ddpm_lightning.typing import Classes, PerExample

NO_CLASS = -1
"""The y of an example that is conditioned on no class."""


class Conditioning(ABC):
    """Base class of conditionings of p_θ, such as on the class of an image.

    Attributes:
        suffix: part of the names of bits/dim, because those of p_θ(x) and p_θ(x | y) do not compare.
        class_names: the names of the classes, in their order; empty if there are none.

    Example:
        >>> class ParityConditioning(Conditioning):
        ...     '''Whether the number of the class is even.'''
        ...
        ...     suffix, class_names, network_arguments = "_given_parity", ("even", "odd"), {"num_classes": 2}
        ...
        ...     def prepare(self, data):
        ...         data.yields_classes = True
        ...         return self
        ...
        ...     def in_training(self, y, rand):
        ...         return y % 2
        ...
        ...     def check_both(self, asker):
        ...         raise UserError(f"{asker} needs p(x) beside p(x | parity), which is never trained; leave it out")
        >>> ParityConditioning().in_training(torch.tensor([3, 8]), rand=None)
        tensor([1, 0])
    """

    suffix: ClassVar[str]
    class_names: Sequence[str] = ()

    @property
    def network_arguments(self) -> dict[str, int]:
        """The arguments of the network that follow from the conditioning."""
        return {}

    @property
    def facts(self) -> dict[str, Any]:
        """The arguments of the conditioning that follow from the data, for the configuration in a checkpoint."""
        return {}

    @abstractmethod
    def prepare(self, data: Any) -> "Conditioning":
        """Asks a DataModule for the labels that are needed, and returns the conditioning for its classes.

        Raises:
            UserError: the data have no labels.
        """

    @abstractmethod
    def in_training(self, y: Classes | None, rand: Callable[[], PerExample]) -> Classes | None:
        """Returns the classes that a training step conditions its batch on, [b]; None for none.

        Args:
            y: the classes of the batch, [b].
            rand: draws u ~ Uniform[0, 1), [b].
        """

    @abstractmethod
    def check_both(self, asker: str) -> None:
        """Raises UserError unless the model knows both p_θ(x) and p_θ(x | y). `asker` is the option that needs both."""

    def check_free(self, asker: str) -> None:
        """Raises UserError unless the model knows p_θ(x). `asker` is the option that needs it."""
        self.check_both(asker)


@dataclass(frozen=True)
class NoConditioning(Conditioning):
    """p_θ(x), as in the paper. The labels of the data are never read."""

    suffix = ""

    def prepare(self, data: Any) -> Conditioning:
        return self

    def in_training(self, y: Classes | None, rand: Callable[[], PerExample]) -> Classes | None:
        return None

    def check_both(self, asker: str) -> None:
        raise UserError(
            f"{asker} needs a model of classes, and this one was trained with conditioning=none; leave it out, or "
            "train with conditioning=class"
        )

    def check_free(self, asker: str) -> None:
        """Accepts every asker, for p_θ(x) is what the model knows."""


@dataclass(frozen=True)
class ClassConditioning(Conditioning):
    """p_θ(x | y) for the class y of an image, and p_θ(x) beside it.

    The network adds a learned row for y to the time embedding. In training, y is replaced by "no class" with
    probability `dropout`, so that the same network learns p_θ(x), which classifier-free guidance needs.

    Args:
        dropout: the probability of "no class" in training, in [0, 1).
        class_names: the names of the classes; if there are none, the data name them.

    Raises:
        UserError: the dropout is out of its range.

    References:
        Ho & Salimans (2022), "Classifier-Free Diffusion Guidance", Algorithm 1.
    """

    dropout: float = 0.1
    class_names: Sequence[str] = ()

    suffix = "_given_class"

    def __post_init__(self) -> None:
        check_interval("conditioning.dropout", self.dropout, 0, 1, "at 1 no class would be learned; use 0.1", ends="[)")

    @property
    def network_arguments(self) -> dict[str, int]:
        return {"num_classes": len(self.class_names)}

    @property
    def facts(self) -> dict[str, Any]:
        return {"class_names": list(self.class_names)}

    def prepare(self, data: Any) -> Conditioning:
        data.yields_classes = True
        return self if self.class_names else replace(self, class_names=_names_of(data))

    def in_training(self, y: Classes | None, rand: Callable[[], PerExample]) -> Classes | None:
        if y is None:
            raise UserError(
                "conditioning=class needs the class of each image, and the data yield none; use LabelledExamples"
            )
        return torch.where(rand() < self.dropout, NO_CLASS, y)

    def check_both(self, asker: str) -> None:
        if self.dropout == 0:
            raise UserError(
                f"{asker} needs p(x) beside p(x | y), and this model was trained with conditioning.dropout=0, so it "
                "knows p(x | y) alone; leave it out, or train with conditioning.dropout=0.1"
            )


def _names_of(data: Any) -> tuple[str, ...]:
    names = getattr(data, "class_names", ())
    if not names:
        raise UserError(
            f"conditioning=class needs labels, and {type(data).__name__} has none; choose data= with labels, such as "
            "digits, or conditioning=none"
        )
    return tuple(names)
