"""A diagonal Gaussian: sampling, KL divergence and log-likelihoods."""

import math
from dataclasses import dataclass

import torch

from ddpm_lightning.typing import Broadcast, Images, PerExample


def sum_over_dimensions(x: Images) -> PerExample:
    """Σ over everything but the batch."""
    return x.flatten(1).sum(1)


@dataclass(frozen=True)
class Gaussian:
    """N(mean, exp(log_variance) I).

    mean: [b, *d]. log_variance: anything that broadcasts over mean.
    """

    mean: Images
    log_variance: Broadcast

    def sample(self, eps: Images) -> Images:
        """mean + σ·ε, for ε ~ N(0, I) of mean's shape."""
        return self.mean + torch.exp(0.5 * self.log_variance) * eps

    def kl(self, other: "Gaussian") -> PerExample:
        """D_KL(self ‖ other) in nats, summed over dimensions: [b]."""
        log_ratio = self.log_variance - other.log_variance
        distance = (self.mean - other.mean).square() * torch.exp(-other.log_variance)
        return sum_over_dimensions(0.5 * (log_ratio.exp() - log_ratio - 1 + distance))

    def nll(self, x: Images) -> PerExample:
        """−log density at x, in nats, summed over dimensions: [b]."""
        distance = (x - self.mean).square() * torch.exp(-self.log_variance)
        return sum_over_dimensions(0.5 * (math.log(2 * math.pi) + self.log_variance + distance))

    def discretized_nll(self, x_0: Images, levels: int) -> PerExample:
        """−log p(x_0) of the discrete decoder, Eq. 13, in nats, summed over dimensions: [b].

        x_0: [b, *d], on the grid 2k/(levels−1) − 1 for k = 0..levels−1. Each value owns the bin around it, and the
        two outermost bins reach to infinity. Computed in float64 and exactly, where the official code has a tanh
        approximation of the normal distribution and a floor of 1e-12: a bin's mass can be far smaller.
        """
        x_0, mean, log_variance = x_0.double(), self.mean.double(), self.log_variance.double()
        half_bin = 1 / (levels - 1)
        inverse_sigma = torch.exp(-0.5 * log_variance)
        offset = x_0 - mean
        # The normal is symmetric: measured in its lower tail, no difference of two numbers near 1 arises.
        log_upper = torch.special.log_ndtr((half_bin - offset.abs()) * inverse_sigma)
        log_lower = torch.special.log_ndtr((-half_bin - offset.abs()) * inverse_sigma)
        inside = log_upper + torch.log(-torch.expm1(log_lower - log_upper))
        lowest = torch.special.log_ndtr((offset + half_bin) * inverse_sigma)
        highest = torch.special.log_ndtr((half_bin - offset) * inverse_sigma)
        log_mass = torch.where(x_0 < -1 + half_bin, lowest, torch.where(x_0 > 1 - half_bin, highest, inside))
        return -sum_over_dimensions(log_mass).to(self.mean.dtype)
