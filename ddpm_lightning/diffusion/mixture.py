"""A mixture of Gaussians: data of which everything is known, the best network too."""

import math

from torch import Tensor, nn

from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.typing import Images, PerExample, Points, Timesteps


class Mixture:
    """q(x_0) = 1/K Σ_k N(m_k, s² I), so q(x_t) = 1/K Σ_k N(√ᾱ_t m_k, (ᾱ_t s² + 1 − ᾱ_t) I).

    means: m_k, [K, d]. s: the standard deviation of each part. Examples of shape [b, *d] are taken as [b, d].
    """

    def __init__(self, means: Points, s: float) -> None:
        self.means, self.s = means.double(), s

    def log_density(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> PerExample:
        """log q(x_t), t: [b] in 0..T."""
        return self._log_parts(process, x_t, t).logsumexp(1).to(x_t.dtype)

    def x_0(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> Images:
        """E[x_0 | x_t]: what the best network would say. t: [b] in 1..T."""
        alpha_bar, noise, y = self._tables(process, x_t, t)
        gain = alpha_bar.sqrt() * self.s**2 / (alpha_bar * self.s**2 + noise)
        share = self._log_parts(process, x_t, t).softmax(1)  # of part k in q(x_t): [b, K]
        mean = share @ self.means.to(x_t.device)
        return (mean + gain * (y - alpha_bar.sqrt() * mean)).reshape(x_t.shape).to(x_t.dtype)

    def score(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> Images:
        """∇ log q(x_t), t: [b] in 1..T."""
        return -process.eps(self.x_0(process, x_t, t), x_t, t) / at((1 - process.alpha_bar).sqrt(), t, x_t)

    def _log_parts(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> Tensor:
        """log 1/K N(x_t; √ᾱ_t m_k, …) for each k: [b, K]."""
        alpha_bar, noise, y = self._tables(process, x_t, t)
        means = self.means.to(x_t.device)
        variance = alpha_bar * self.s**2 + noise
        distance = (y[:, None] - alpha_bar.sqrt()[:, None] * means).square().sum(2)
        d = means.shape[1]
        return -0.5 * (distance / variance + d * (2 * math.pi * variance).log()) - math.log(len(means))

    def _tables(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> tuple[Tensor, Tensor, Tensor]:
        """ᾱ_t and 1 − ᾱ_t, [b, 1], and x_t as [b, d], in float64."""
        y = x_t.double().flatten(1)
        return at(process.alpha_bar, t, y), at(1 - process.alpha_bar, t, y), y


class BestNetwork(nn.Module):
    """Says what a perfectly trained network would, of a mixture: a reference for every other."""

    def __init__(self, mixture: Mixture, process: GaussianDiffusion, parameterization: Parameterization) -> None:
        super().__init__()
        self.mixture, self.process, self.parameterization = mixture, process, parameterization

    def forward(self, x_t: Images, t: Tensor) -> Images:
        """t: [b] in 0..T−1, as every network takes it."""
        x_0 = self.mixture.x_0(self.process, x_t, t + 1)
        return self.parameterization.target(self.process, x_0, x_t, t + 1)
