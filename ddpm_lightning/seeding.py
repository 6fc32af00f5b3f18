"""Randomness by name: every draw belongs to a seed and a place, so a resumed or a sharded run draws the same."""

import hashlib

import torch

from ddpm_lightning.typing import Images


def derive(seed: int, *place: str | int) -> int:
    """A 63-bit seed for this place, such as ("noise", step), independent of every other place's."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *place: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for this place alone; two calls with the same place draw the same."""
    return torch.Generator(device).manual_seed(derive(seed, *place))


class NoisePerImage:
    """Noise for sampling with one generator an image, so that an image does not depend on its batch.

    first: the number of the batch's first image; image i of the batch draws as number first + i, wherever it is made.
    """

    def __init__(self, seed: int, first: int, count: int, device: torch.device | str = "cpu") -> None:
        self.device = device
        self.generators = [generator(seed, "image", first + i, device=device) for i in range(count)]

    def randn(self, *shape: int) -> Images:
        """ε ~ N(0, I), [count, *shape]: the next draw of every image."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self.generators])

    def randn_like(self, x: Images) -> Images:
        """ε ~ N(0, I) of x's shape and dtype: the next draw of every image."""
        return self.randn(*x.shape[1:]).to(x.dtype)
