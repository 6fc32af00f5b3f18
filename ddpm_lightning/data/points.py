"""Points of the plane, as images of two channels and one pixel: toys that train in a minute and can be seen whole."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.fake import MOST
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.errors import UserError, check_at_most, check_positive, check_whole
from ddpm_lightning.seeding import derive
from ddpm_lightning.typing import Points


class PointsDataModule(ImageDataModule):
    """num_points points in each split, both coordinates in [−1, 1] and rounded to 256 levels, so that bits/dim mean
    what they mean for photographs. noise: the standard deviation that blurs the shape, before it is rounded."""

    channels, size = 2, (1, 1)
    pixels = PixelRange(256)

    def __init__(self, *, num_points: int = 10000, noise: float = 0.03, **options: Any) -> None:
        super().__init__(**options)
        check_whole("data.num_points", num_points, 2, "a shape needs some; use 10000")
        check_at_most("data.num_points", num_points, MOST // 2, "they are kept in memory; use 10000")
        check_positive("data.noise", noise, "a line has no density; use 0.03")
        self.num_points = num_points
        self.noise = noise

    @abstractmethod
    def draw(self, seed: int) -> np.ndarray:
        """num_points points, [n, 2], nearly all in [−1, 1]²."""

    def load(self, split: str) -> ImageDataset:
        points = self.draw(derive(self.seed, "points", split) % 2**32)
        return InMemoryImages(self.pixels.decode(torch.from_numpy(points)[:, :, None, None]))


class TwoMoonsDataModule(PointsDataModule):
    """Two half circles, each around an end of the other (scikit-learn's make_moons)."""

    def draw(self, seed: int) -> np.ndarray:
        from sklearn.datasets import make_moons

        points, _ = make_moons(self.num_points, noise=1.75 * self.noise, random_state=seed)
        return np.asarray((points - (0.5, 0.25)) / 1.75)


class SwissRollDataModule(PointsDataModule):
    """A spiral of one and a half turns (scikit-learn's make_swiss_roll, seen from its end)."""

    def draw(self, seed: int) -> np.ndarray:
        from sklearn.datasets import make_swiss_roll

        points, _ = make_swiss_roll(self.num_points, noise=16 * self.noise, random_state=seed)
        return np.asarray(points[:, [0, 2]] / 16)


class GaussiansDataModule(PointsDataModule):
    """A ring of num_parts equal Gaussians of standard deviation `noise`, of which the best network is known, but
    for the rounding of points to levels, 2/255 wide."""

    def __init__(self, *, num_parts: int = 8, radius: float = 0.7, **options: Any) -> None:
        super().__init__(**options)
        check_whole("data.num_parts", num_parts, 1, "one is a Gaussian; use 8")
        check_at_most("data.num_parts", num_parts, 1000, "no eye tells so many apart; use 8")
        check_positive("data.radius", radius, "it is that of the ring; use 0.7")
        if radius + 3 * self.noise > 1:
            raise UserError(
                f"data.radius={radius} and data.noise={self.noise} lead beyond 1, where points are cut off; choose "
                "a smaller ring or less noise"
            )
        self.num_parts = num_parts
        self.radius = radius

    @property
    def means(self) -> Points:
        """The middles of the parts, [K, 2]."""
        angles = 2 * math.pi * torch.arange(self.num_parts, dtype=torch.float64) / self.num_parts
        return self.radius * torch.stack([angles.cos(), angles.sin()], dim=1)

    def draw(self, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        parts = rng.integers(self.num_parts, size=self.num_points)
        return np.asarray(self.means.numpy()[parts] + self.noise * rng.standard_normal((self.num_points, 2)))
