"""Points in the plane, as images of two channels and one pixel: data that train in a minute and can be plotted."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.fake import MAX_NUMBERS
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.errors import UserError, check_positive, check_whole
from ddpm_lightning.seeding import derive
from ddpm_lightning.typing import Labels, Points


class PointsDataModule(ImageDataModule):
    """Random points near a shape in [−1, 1]².

    Coordinates are rounded to 256 levels, so that bits/dim mean the same as for photographs.

    Args:
        num_points: the points in each split, at least 2.
        noise: the standard deviation of the noise around the shape, before rounding; above 0.
        **options: see `ImageDataModule`.

    Example:
        >>> class CircleDataModule(PointsDataModule):
        ...     def draw(self, seed):
        ...         angles = np.random.default_rng(seed).uniform(0, 2 * math.pi, self.num_points)
        ...         return 0.7 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> len(CircleDataModule(num_points=100).images("train"))
        100
    """

    channels, size = 2, (1, 1)
    pixels = PixelRange(256)

    def __init__(self, *, num_points: int = 10000, noise: float = 0.03, **options: Any) -> None:
        super().__init__(**options)
        check_whole("data.num_points", num_points, 2, "they are kept in memory; use 10000", MAX_NUMBERS // 2)
        check_positive("data.noise", noise, "a line has no density; use 0.03")
        self.num_points = num_points
        self.noise = noise

    @abstractmethod
    def draw(self, seed: int) -> np.ndarray:
        """Draws num_points points, nearly all in [−1, 1]²: [n, 2]."""

    def seed_of(self, split: str) -> int:
        """Returns the seed from which the points of a split are drawn."""
        return derive(self.seed, "points", split) % 2**32

    def load(self, split: str) -> ImageDataset:
        points = self.draw(self.seed_of(split))
        return InMemoryImages(self.pixels.decode(torch.from_numpy(points)[:, :, None, None]))


class TwoMoonsDataModule(PointsDataModule):
    """Two interleaving half circles (`sklearn.datasets.make_moons`). For the arguments, see `PointsDataModule`."""

    def draw(self, seed: int) -> np.ndarray:
        from sklearn.datasets import make_moons

        points, _ = make_moons(self.num_points, noise=1.75 * self.noise, random_state=seed)
        return np.asarray((points - (0.5, 0.25)) / 1.75)


class SwissRollDataModule(PointsDataModule):
    """A spiral of one and a half turns (`sklearn.datasets.make_swiss_roll` without its height).

    For the arguments, see `PointsDataModule`.
    """

    def draw(self, seed: int) -> np.ndarray:
        from sklearn.datasets import make_swiss_roll

        points, _ = make_swiss_roll(self.num_points, noise=16 * self.noise, random_state=seed)
        return np.asarray(points[:, [0, 2]] / 16)


class GaussiansDataModule(PointsDataModule):
    """Equal Gaussians on a ring; their standard deviation is `noise`. The class of a point is its Gaussian.

    The best network is known in closed form (`Mixture`), except for the rounding of points to levels, 2/255 apart.

    Args:
        num_parts: the number of Gaussians, in 1..1000.
        radius: the radius of the ring; radius + 3·noise must not exceed 1.
        **options: see `PointsDataModule`.
    """

    def __init__(self, *, num_parts: int = 8, radius: float = 0.7, **options: Any) -> None:
        super().__init__(**options)
        check_whole("data.num_parts", num_parts, 1, "it counts Gaussians on a ring; use 8", 1000)
        check_positive("data.radius", radius, "the ring has a size; use 0.7")
        if radius + 3 * self.noise > 1:
            raise UserError(
                f"data.radius={radius} and data.noise={self.noise} put points beyond 1, where they are clipped; choose "
                "a smaller ring or less noise"
            )
        self.num_parts = num_parts
        self.radius = radius
        self.class_names = tuple(map(str, range(num_parts)))

    @property
    def means(self) -> Points:
        """The means of the K Gaussians: [K, 2]."""
        angles = 2 * math.pi * torch.arange(self.num_parts, dtype=torch.float64) / self.num_parts
        return self.radius * torch.stack([angles.cos(), angles.sin()], dim=1)

    def draw(self, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        parts = self._parts(rng)
        return np.asarray(self.means.numpy()[parts] + self.noise * rng.standard_normal((self.num_points, 2)))

    def labels(self, split: str) -> Labels:
        """Returns which Gaussian each point of a split comes from: [n]."""
        return torch.from_numpy(self._parts(np.random.default_rng(self.seed_of(split))))

    def _parts(self, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(self.num_parts, size=self.num_points)
