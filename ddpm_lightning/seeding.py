"""Random numbers that follow from a seed and a place, such as (seed, "flip", step).

No draw depends on earlier draws. So a resumed run, or a run of several processes, draws what one process would.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.typing import Images, PerExample


def derive(seed: int, *place: str | int) -> int:
    """Returns a 63-bit seed for a place, such as ("noise", step), independent of the seeds of other places."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *place: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns a new generator for a place; two generators of the same seed and place draw the same numbers."""
    return torch.Generator(device).manual_seed(derive(seed, *place))


class BatchPlace(NamedTuple):
    """The place of one process's batch in the whole batch of an optimizer step.

    Args:
        step: the optimizer step, from 0.
        part: which part of the whole batch this is, in 0..parts−1.
        parts: how many equal parts the whole batch has.
    """

    step: int
    part: int
    parts: int

    def of(self, whole: Tensor) -> Tensor:
        """Returns this part of a tensor that was drawn for the whole batch: [b·parts, …] -> [b, …]."""
        return whole.chunk(self.parts)[self.part]


def place_of(number: int, accumulated: int, rank: int, world_size: int) -> BatchPlace:
    """Returns the place of a process's batch in its step.

    Args:
        number: the number of the batch in its process, from 0.
        accumulated: how many batches each process accumulates for one step.
        rank, world_size: which process this is, of how many.
    """
    step, round_of_step = divmod(number, accumulated)
    return BatchPlace(step, round_of_step * world_size + rank, accumulated * world_size)


class NoisePerImage:
    """Random numbers from one generator per image, so that an image's noise does not depend on its batch.

    Args:
        seed: the seed of all images.
        numbers: the number of each image of the batch; an image's noise follows from its number.
        device: where the numbers are drawn.
        purpose: a word for what is drawn; different purposes draw different numbers.
    """

    def __init__(
        self, seed: int, numbers: Sequence[int], device: torch.device | str = "cpu", purpose: str = "image"
    ) -> None:
        self.device = device
        self.generators = [generator(seed, purpose, number, device=device) for number in numbers]

    def randn(self, *shape: int) -> Images:
        """Draws ε ~ N(0, I) of the given shape for every image: [b, *shape]."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self.generators])

    def randn_like(self, x: Images) -> Images:
        """Draws ε ~ N(0, I) in the shape and dtype of x: [b, *d]."""
        return self.randn(*x.shape[1:]).to(x.dtype)

    def rand(self) -> PerExample:
        """Draws u ~ Uniform[0, 1) for every image: [b]."""
        return torch.cat([torch.rand(1, generator=g, device=self.device) for g in self.generators])
