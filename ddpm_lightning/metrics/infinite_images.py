"""The Fréchet distance of infinitely many generated images, extrapolated; and standard errors of any score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ddpm_lightning.errors import UserError, check_whole, counted
from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.reference import Reference, frechet_distance, statistics_of
from ddpm_lightning.metrics.scores import FrechetDistance, Score, Value

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


def jackknife(score: Score, generated: Extracted, real: Reference, groups: int) -> list[Value]:
    """Returns the values of a score with their standard errors over generated images.

    Each group of images is left out in turn, so a score is computed 1 + groups times. A bootstrap would repeat images:
    that adds to the bias of a Fréchet distance, and an image would be its own neighbour.

    Args:
        score: the score.
        generated: features and logits of generated images. They are shuffled, for their order may not be random.
        real: the real images, which stay as they are.
        groups: how many groups, at least 2.

    References:
        Shao & Wu (1989), "A General Theory for Jackknife Variance Estimation".
    """
    order = torch.randperm(len(generated.features), generator=torch.Generator().manual_seed(0))
    group = torch.arange(len(order)) % groups
    values = score(_chosen(generated, order), real)
    without = [score(_chosen(generated, order[group != g]), real) for g in range(groups)]
    spread = np.array([[each.value for each in left] for left in without]).var(0)
    errors = [math.sqrt((groups - 1) * float(variance)) for variance in spread]
    return [each._replace(standard_error=error) for each, error in zip(values, errors, strict=True)]


def _chosen(images: Extracted, places: torch.Tensor) -> Extracted:
    return Extracted(images.features[places], images.logits[places])
