"""The energy distance between two sets of points, for data that are not pictures."""

import torch

from ddpm_lightning.typing import OtherVectors, PointCloud


def energy_distance(x: PointCloud, y: OtherVectors) -> float:
    """Estimates the energy distance of two distributions from n and m points, without bias.

        2 E|X − Y| − E|X − X′| − E|Y − Y′|

    It is 0 for equal distributions, so the estimate can be slightly negative. It takes memory for n·m, n² and m²
    numbers.

    Args:
        x: points of the one distribution, [n, d].
        y: points of the other, [m, d].

    References:
        Székely & Rizzo (2013), "Energy statistics: A class of statistics based on distances".
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    within_x = torch.cdist(x, x).sum() / (n * (n - 1))
    within_y = torch.cdist(y, y).sum() / (m * (m - 1))
    return float(2 * torch.cdist(x, y).mean() - within_x - within_y)
