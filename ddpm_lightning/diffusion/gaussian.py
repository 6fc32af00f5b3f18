"""The diagonal Gaussian: sampling, KL divergence and log-likelihoods."""

import math
from dataclasses import dataclass

import torch

from ddpm_lightning.typing import Broadcast, Images, PerExample


def sum_over_dimensions(x: Images) -> PerExample:
    """Sums each example over all its dimensions: [b, *d] -> [b]."""
    return x.flatten(1).sum(1)


@dataclass(frozen=True)
class Gaussian:
    """The distribution N(mean, exp(log_variance) I) of each example of a batch.

    Args:
        mean: [b, *d].
        log_variance: log σ², of any shape that broadcasts over mean; −∞ makes the distribution a point.
    """

    mean: Images
    log_variance: Broadcast

    def sample(self, eps: Images) -> Images:
        """Returns mean + σ·ε: [b, *d].

        Args:
            eps: ε ~ N(0, I), [b, *d].
        """
        return self.mean + torch.exp(0.5 * self.log_variance) * eps

    def kl(self, other: "Gaussian") -> PerExample:
        """Returns D_KL(self ‖ other) in nats, summed over dimensions: [b].

        ½ Σ [σ₁²/σ₂² − log(σ₁²/σ₂²) − 1 + (μ₁ − μ₂)²/σ₂²]
        """
        log_ratio = self.log_variance - other.log_variance
        distance = (self.mean - other.mean).square() * torch.exp(-other.log_variance)
        return sum_over_dimensions(0.5 * (log_ratio.exp() - log_ratio - 1 + distance))

    def nll(self, x: Images) -> PerExample:
        """Returns the negative log density at x in nats, summed over dimensions: [b].

        ½ Σ [log 2π + log σ² + (x − μ)²/σ²]
        """
        distance = (x - self.mean).square() * torch.exp(-self.log_variance)
        return sum_over_dimensions(0.5 * (math.log(2 * math.pi) + self.log_variance + distance))

    def discretized_nll(self, x_0: Images, levels: int) -> PerExample:
        """Returns −log p(x_0) of the discrete decoder in nats, summed over dimensions: [b].

            p(x_0) = Π ∫ N(x; μ, σ²) dx over the bin of each value                                  (Eq. 13)

        A bin reaches half way to the neighbouring levels; the bins of −1 and 1 reach to infinity. The result is exact
        in float64. The official code approximates the normal distribution by a tanh and floors a bin's mass at
        1e-12; the mass can be far smaller.

        Args:
            x_0: values on the grid 2k/(levels−1) − 1 for k = 0..levels−1, [b, *d].
            levels: how many values a pixel can take, at least 2.
        """
        x_0, mean, log_variance = x_0.double(), self.mean.double(), self.log_variance.double()
        half_bin = 1 / (levels - 1)
        inverse_sigma = torch.exp(-0.5 * log_variance)
        offset = x_0 - mean
        # The normal is symmetric. In its lower tail, the difference of two masses loses no digits.
        log_upper = torch.special.log_ndtr((half_bin - offset.abs()) * inverse_sigma)
        log_lower = torch.special.log_ndtr((-half_bin - offset.abs()) * inverse_sigma)
        inside = log_upper + torch.log(-torch.expm1(log_lower - log_upper))
        lowest = torch.special.log_ndtr((offset + half_bin) * inverse_sigma)
        highest = torch.special.log_ndtr((half_bin - offset) * inverse_sigma)
        log_mass = torch.where(x_0 < -1 + half_bin, lowest, torch.where(x_0 > 1 - half_bin, highest, inside))
        return -sum_over_dimensions(log_mass).to(self.mean.dtype)
