"""Which class each generated image is of: a function of the image's number, as its noise is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ddpm_lightning.diffusion.conditional.conditioning import NO_CLASS, Conditioning
from ddpm_lightning.errors import UserError, near_names, shown
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.typing import Classes, Labels


class Labelling(ABC):
    """Chooses the class of each generated image.

    Attributes:
        suffix: the suffix of a result's name for these images.
        facts: what the recipe of a folder of images and results.json say of the choice.
        period: the number of images after which the classes begin again, as rows of a picture; None if never.

    Example:
        >>> class FirstClass(Labelling):
        ...     suffix = "_first"
        ...
        ...     def of(self, numbers):
        ...         return torch.zeros(len(numbers), dtype=torch.int64)
        >>> FirstClass().of(range(3))
        tensor([0, 0, 0])
    """

    suffix: str = ""
    period: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def of(self, numbers: Sequence[int]) -> Classes | None:
        """Returns the classes of the images of these numbers, [b]; None if the model is not conditioned."""


class NoLabels(Labelling):
    """Chooses no class: the images are of a model that is not conditioned."""

    def of(self, numbers: Sequence[int]) -> Classes | None:
        return None


@dataclass(frozen=True)
class LabelsInTurn(Labelling):
    """Gives image n the class labels[n mod k] of k labels.

    Args:
        labels: the classes; −1 is no class.
    """

    labels: tuple[int, ...]

    @property
    def suffix(self) -> str:  # type: ignore[override]
        few = "-".join("none" if label == NO_CLASS else str(label) for label in self.labels)
        return f"_of_{few}" if len(self.labels) <= 10 else f"_of_{len(self.labels)}_classes"

    @property
    def facts(self) -> dict[str, Any]:
        return {"labels": list(self.labels)}

    @property
    def period(self) -> int:  # type: ignore[override]
        return len(self.labels)

    def of(self, numbers: Sequence[int]) -> Classes | None:
        return torch.tensor([self.labels[number % len(self.labels)] for number in numbers])


@dataclass(frozen=True)
class LabelsOfData(Labelling):
    """Draws the class of each image by the frequencies of the data, from (seed, number of the image).

    Args:
        frequencies: the share of each class, which sum to 1.
        seed: the seed of the draws.
    """

    frequencies: tuple[float, ...]
    seed: int

    def of(self, numbers: Sequence[int]) -> Classes | None:
        u = NoisePerImage(self.seed, numbers, purpose="class").rand().double()
        borders = torch.tensor(self.frequencies, dtype=torch.float64).cumsum(0)
        return torch.searchsorted(borders, u, right=True).clamp(max=len(borders) - 1)


def labels_like(labels: Labels, conditioning: Conditioning, seed: int) -> Labelling:
    """Returns the labelling that draws classes by their frequencies among the labels, int64 [n]."""
    frequencies = labels.bincount(minlength=len(conditioning.class_names)).double() / len(labels)
    return LabelsOfData(tuple(frequencies.tolist()), seed)


def default_labelling(data: Any, conditioning: Conditioning, seed: int) -> Labelling:
    """Returns the labelling of images that are compared with the data: none, or by the classes of the train split."""
    if not conditioning.class_names:
        return NoLabels()
    return labels_like(data.labels("train"), conditioning, seed)


def in_turn(asked: Any, conditioning: Conditioning) -> Labelling:
    """Returns the labelling that labels= asks for.

    Args:
        asked: a list of classes by number or name; null in it is no class. None asks for every class in turn.
        conditioning: what the model is conditioned on.

    Raises:
        UserError: there is no such class, or the model is not conditioned on classes.
    """
    names = list(conditioning.class_names)
    if asked is None:
        return LabelsInTurn(tuple(range(len(names)))) if names else NoLabels()
    if not names:
        raise UserError(
            f"labels={shown(asked)} ask for classes, and this model was trained with conditioning=none; leave labels= "
            "out, or train with conditioning=class"
        )
    if not isinstance(asked, list) or not asked:
        raise UserError(f"labels={shown(asked)} is no list of classes; write it like labels=[0,1]")
    return LabelsInTurn(tuple(_class_of(each, names) for each in asked))


def _class_of(asked: Any, names: list[str]) -> int:
    """Returns the number of a class that is asked for by number or name."""
    if asked is None:
        return NO_CLASS
    if isinstance(asked, int) and not isinstance(asked, bool) and 0 <= asked < len(names):
        return asked
    if asked in names:
        return names.index(asked)
    near = near_names(asked, names) if isinstance(asked, str) else []
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(
        f"labels= names {shown(asked)}, which is none of the {len(names)} classes; {hint}choose a number in "
        f"0..{len(names) - 1}, one of the names {shown(', '.join(names))}, or null for no class"
    )
