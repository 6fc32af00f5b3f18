"""Randomness by name: every draw belongs to a seed and a place, so a resumed or a sharded run draws the same."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.typing import Images, PerExample


def derive(seed: int, *place: str | int) -> int:
    """A 63-bit seed for this place, such as ("noise", step), independent of every other place's."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *place: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for this place alone; two calls with the same place draw the same."""
    return torch.Generator(device).manual_seed(derive(seed, *place))


class BatchPlace(NamedTuple):
    """Where a process's batch stands: its step, and which it is of so many equal parts of that step's whole batch."""

    step: int
    part: int
    parts: int

    def of(self, whole: Tensor) -> Tensor:
        """Its part of what was drawn for the step, [b·parts, …] -> [b, …]."""
        return whole.chunk(self.parts)[self.part]


def place_of(number: int, turns: int, rank: int, world_size: int) -> BatchPlace:
    """The place of a process's batch of this number. turns: the batches of a process that are accumulated for a step;
    those of all processes at one turn lie side by side."""
    step, turn = divmod(number, turns)
    return BatchPlace(step, turn * world_size + rank, turns * world_size)


class NoisePerImage:
    """Randomness with one generator an image, so that what is drawn for an image does not depend on its batch.

    numbers: of the batch's images; number i draws the same wherever it stands. purpose: what it is drawn for.
    """

    def __init__(
        self, seed: int, numbers: Sequence[int], device: torch.device | str = "cpu", purpose: str = "image"
    ) -> None:
        self.device = device
        self.generators = [generator(seed, purpose, number, device=device) for number in numbers]

    def randn(self, *shape: int) -> Images:
        """ε ~ N(0, I), [count, *shape]: the next draw of every image."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self.generators])

    def randn_like(self, x: Images) -> Images:
        """ε ~ N(0, I) of x's shape and dtype: the next draw of every image."""
        return self.randn(*x.shape[1:]).to(x.dtype)

    def rand(self) -> PerExample:
        """u ~ Uniform[0, 1), one for each image: [count]."""
        return torch.cat([torch.rand(1, generator=g, device=self.device) for g in self.generators])
