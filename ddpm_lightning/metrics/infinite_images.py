"""The Fréchet distance of infinitely many generated images, extrapolated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddpm_lightning.errors import UserError, check_whole, counted
from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.reference import Reference, frechet_distance, statistics_of
from ddpm_lightning.metrics.scores import FrechetDistance, Value

FEWEST = 10
"""The least number of images whose distance is measured is the number of images over this."""


@dataclass(frozen=True)
class ExtrapolatedFrechetDistance(FrechetDistance):
    """FD∞: the Fréchet distance of infinitely many generated images, from those of N = n/10 … n images.

    The bias of the distance is ∝ 1/N, so a line through the distances over 1/N meets FD∞ at 0. It can be slightly
    negative. The N images are the first ones, so they must be in random order. The bias by the number of real images
    stays.

    Args:
        points: how many N, from n/10 to n in equal steps, at least 2.

    References:
        Chong & Forsyth (2020), "Effectively Unbiased FID and Inception Score and Where to Find Them".
    """

    points: int = 15
    names = ("fd_infinity",)

    def __post_init__(self) -> None:
        check_whole("points", self.points, 2, "the usual number is 15")

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        n = len(generated.features)
        numbers = np.linspace(n / FEWEST, n, self.points).round().astype(int).tolist()
        distances = [frechet_distance(statistics_of(generated.features[:N]), real.statistics) for N in numbers]
        _, at_zero = np.polyfit([1 / N for N in numbers], distances, deg=1)
        return [Value(float(at_zero))]

    def check(self, n: int, num_features: int, which: str) -> None:
        least = FEWEST * (num_features + 1)
        if which == "generated" and n < least:
            raise UserError(
                f"{counted(n, 'generated image is', 'generated images are')} too few to extrapolate the Fréchet "
                f"distance of {num_features} features; {least} are the least (paper: 50000)"
            )
        super().check(n, num_features, which)
