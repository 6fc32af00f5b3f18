"""Something that weights can be read from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.studies.interchange.carry import Weights
from ddpm_lightning.studies.interchange.pretrained import Node, Pretrained

KINDS = {"ema": True, "raw": False}
"""What files of ours say of their weights, and whether they are averaged."""


class Source(ABC):
    """Something that weights can be read from."""

    @abstractmethod
    def read(self, data: Node | None) -> Pretrained:
        """The weights and their model; data: the node of a DataModule, for sources that do not say what their images
        are. Raises UserError where they are not of the paper's U-Net."""


@dataclass(frozen=True)
class SingleSource(Source):
    """One set of weights. path: see each. averaged: whether they are an average over training; null where the file says
    so itself. step: how long they were trained; 0 where that is not known."""

    path: str
    averaged: bool | None = None
    step: int = 0

    def __post_init__(self) -> None:
        check_whole("source.step", self.step, 0, "leave it out where it is not known")

    def made(self, parts: Mapping[str, Node], weights: Weights, said: Mapping[str, str]) -> Pretrained:
        """said: what the file says of its weights. Raises UserError where nobody says which they are, or file and user
        say otherwise."""
        averaged = self._averaged(KINDS.get(said.get("weights", "")))
        step = self.step or _whole(said.get("step", "0"), self.path)
        facts = {"imported_from": self.path}
        return Pretrained(parts, None if averaged else weights, weights if averaged else None, step, facts)

    def _averaged(self, said: bool | None) -> bool:
        if said is None and self.averaged is None:
            raise UserError(
                f"{self.path} does not say whether its weights are averaged, and samples of the two differ much; say "
                "source.averaged=true (google/ddpm-ema-…) or source.averaged=false (google/ddpm-cifar10-32)"
            )
        if None not in (said, self.averaged) and said != self.averaged:
            which = "averaged" if said else "raw"
            raise UserError(f"{self.path} says that its weights are {which}; leave out source.averaged={self.averaged}")
        return bool(said if self.averaged is None else self.averaged)


def required(data: Node | None) -> Node:
    """The node. Raises UserError where there is none."""
    if data is None:
        raise UserError(
            "the weights do not say what their images are; say data=cifar10, or data=image_folder data.root=PATH "
            "data.side=256"
        )
    return data


def _whole(step: str, source: str) -> int:
    if not step.isdecimal():
        raise UserError(f"{source} says that its weights are of step {step!r}, which is no number; take another file")
    return int(step)
