"""The kernel distance over all pairs of images, with its standard error."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import Score, Value
from ddpm_lightning.typing import OtherVectors, PerExample, PointCloud

AT_ONCE = 256
"""Images whose kernel with all others is computed at once."""


class MaximumMeanDiscrepancy(Score):
    """The squared maximum mean discrepancy of the features over all pairs of images, unbiased. Smaller is better.

    Its kernel is KID's, (x·y/d + 1)³. KID, or `KernelDistance`, averages it over random subsets, whose spread is no
    error of the average. The standard error here is that over generated images, for these real ones.

    References:
        Gretton et al. (2012), "A Kernel Two-Sample Test".
        Bińkowski et al. (2018), "Demystifying MMD GANs".
    """

    needs_features = True
    names = ("kd",)

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        assert real.features is not None
        x, y = generated.features.double(), real.features.double()
        n, m = len(x), len(y)
        among_x = (sums_of_kernel(x, x) - kernel_with_itself(x)) / (n - 1)
        among_y = (sums_of_kernel(y, y) - kernel_with_itself(y)) / (m - 1)
        across = sums_of_kernel(x, y) / m
        value = among_x.mean() + among_y.mean() - 2 * across.mean()
        error = 2 * (among_x - across).std() / n**0.5  # the first-order term of the U-statistic
        return [Value(float(value), standard_error=float(error))]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n < 2:
            raise UserError(f"{n} {which} image makes no pair; ask for more")


def sums_of_kernel(x: PointCloud, y: OtherVectors) -> PerExample:
    """Returns Σ_j (x_i·y_j/d + 1)³ for each i, [n]."""
    return torch.cat([_kernel(some @ y.T, x.shape[1]).sum(1) for some in torch.split(x, AT_ONCE)])


def kernel_with_itself(x: PointCloud) -> PerExample:
    """Returns (x_i·x_i/d + 1)³ for each i, [n]."""
    return _kernel(x.square().sum(1), x.shape[1])


def _kernel(products: Tensor, d: int) -> Tensor:
    return (products / d + 1) ** 3
