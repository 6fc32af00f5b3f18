"""The energy distance of two sets of points: a ruler for data that are no pictures."""

import torch

from ddpm_lightning.typing import OtherVectors, PointCloud


def energy_distance(x: PointCloud, y: OtherVectors) -> float:
    """2 E|X − Y| − E|X − X′| − E|Y − Y′| (Székely & Rizzo, 2013), estimated without bias from n and m points: 0 on
    average where both are drawn from one density, so it can be just below 0. Holds n·m, n² and m² numbers."""
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    within_x = torch.cdist(x, x).sum() / (n * (n - 1))
    within_y = torch.cdist(y, y).sum() / (m * (m - 1))
    return float(2 * torch.cdist(x, y).mean() - within_x - within_y)
