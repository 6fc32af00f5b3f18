"""The base classes of all sources of weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.studies.interchange.carry import Weights
from ddpm_lightning.studies.interchange.pretrained import Node, Pretrained

IS_AVERAGED = {"ema": True, "raw": False}
"""Maps the entry `weights` in the metadata of our files to whether the weights are averaged."""


@dataclass(frozen=True)
class Source(ABC):
    """A place that weights can be read from.

    Args:
        path: The file or folder.

    Example:
        >>> from ddpm_lightning.studies.interchange.files import read_safetensors
        >>> class WeightsFile(SingleSource):
        ...     '''A safetensors file with our names, of a model that the class knows.'''
        ...
        ...     parts = {}  # the nodes schedule, parameterization, variance and network
        ...
        ...     def read(self, data):
        ...         weights, metadata = read_safetensors(self.path)
        ...         return self.pretrained({**self.parts, "data": required(data)}, weights, metadata)
        >>> WeightsFile("weights.safetensors", averaged=True).path
        'weights.safetensors'
    """

    path: str

    @abstractmethod
    def read(self, data: Node | None) -> Pretrained:
        """Reads the weights and their model.

        Args:
            data: The node of a DataModule. Sources that do not describe their images need it.

        Raises:
            UserError: The weights cannot be read, or are not of the paper's U-Net.
        """


@dataclass(frozen=True)
class SingleSource(Source):
    """A source of one set of weights.

    Args:
        path: The file or folder.
        averaged: Whether the weights are an average over training. None if the file says so itself.
        step: Number of training steps; 0 if it is unknown, or the file says so itself.
    """

    averaged: bool | None = None
    step: int = 0

    def __post_init__(self) -> None:
        check_whole("source.step", self.step, 0, "leave it out if it is unknown")

    def pretrained(self, parts: Mapping[str, Node], weights: Weights, metadata: Mapping[str, str]) -> Pretrained:
        """Returns the weights with their model.

        Args:
            parts: The nodes of the model.
            weights: The weights by our names.
            metadata: The `weights` (ema or raw) and `step` that the file states, if it does.

        Raises:
            UserError: Neither file nor user says whether the weights are averaged, or they contradict each other.
        """
        averaged = self._averaged(IS_AVERAGED.get(metadata.get("weights", "")))
        step = self.step or _whole(metadata.get("step", "0"), self.path)
        facts = {"imported_from": self.path}
        return Pretrained(parts, None if averaged else weights, weights if averaged else None, step, facts)

    def _averaged(self, stated: bool | None) -> bool:
        """Returns whether the weights are averaged. `stated` is what the file says; None if it says nothing."""
        if stated is None and self.averaged is None:
            raise UserError(
                f"{self.path} does not say whether its weights are averaged, and samples of the two differ much; say "
                "source.averaged=true (google/ddpm-ema-…) or source.averaged=false (google/ddpm-cifar10-32)"
            )
        if None not in (stated, self.averaged) and stated != self.averaged:
            which = "averaged" if stated else "raw"
            raise UserError(f"{self.path} says that its weights are {which}; leave out source.averaged={self.averaged}")
        return bool(stated if self.averaged is None else self.averaged)


def required(data: Node | None) -> Node:
    """Returns the node. Raises UserError if there is none."""
    if data is None:
        raise UserError(
            "the weights do not say what their images are; say data=cifar10, or data=image_folder data.root=PATH "
            "data.side=256"
        )
    return data


def _whole(step: str, source: str) -> int:
    if not step.isdecimal():
        raise UserError(f"{source} says that its weights are of step {step!r}, not a whole number; take another file")
    return int(step)
