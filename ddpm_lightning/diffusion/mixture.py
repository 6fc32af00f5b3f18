"""A mixture of Gaussians: data whose marginals, score and best network have closed forms."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.typing import Classes, Images, PerExample, Points, Timesteps


class Mixture:
    """A mixture of K equal Gaussians, with its exact marginals in a forward process.

        q(x_0) = 1/K Σ_k N(m_k, s² I)
        q(x_t) = 1/K Σ_k N(√ᾱ_t m_k, (ᾱ_t s² + 1 − ᾱ_t) I)

    Args:
        means: m_k, [K, d]. Examples of shape [b, *d] are read as [b, d].
        s: the standard deviation of each part, positive or 0.
    """

    def __init__(self, means: Points, s: float) -> None:
        self.means, self.s = means.double(), s

    def log_density(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> PerExample:
        """Returns log q(x_t) in nats: [b].

        Args:
            process: the forward process.
            x_t: [b, *d].
            t: [b] in 0..T.
        """
        return self._log_parts(process, x_t, t).logsumexp(1).to(x_t.dtype)

    def x_0(self, process: GaussianDiffusion, x_t: Images, t: Timesteps, y: Classes | None = None) -> Images:
        """Returns E[x_0 | x_t], or E[x_0 | x_t, y], the x̂_0 of the best network: [b, *d].

        Args:
            process: the forward process.
            x_t: [b, *d].
            t: [b] in 1..T.
            y: the part that each x_0 comes from, [b] in 0..K−1; −1 or None if it is not known.
        """
        alpha_bar, noise, x = self._tables(process, x_t, t)
        gain = alpha_bar.sqrt() * self.s**2 / (alpha_bar * self.s**2 + noise)
        share = self._log_parts(process, x_t, t).softmax(1)  # of part k in q(x_t): [b, K]
        if y is not None:
            known = one_hot(y.clamp(min=0), len(self.means)).to(share.dtype)
            share = torch.where(y[:, None] < 0, share, known)
        mean = share @ self.means.to(x_t.device)
        return (mean + gain * (x - alpha_bar.sqrt() * mean)).reshape(x_t.shape).to(x_t.dtype)

    def score(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> Images:
        """Returns ∇ log q(x_t): [b, *d].

        Args:
            process: the forward process.
            x_t: [b, *d].
            t: [b] in 1..T.
        """
        return -process.eps(self.x_0(process, x_t, t), x_t, t) / at((1 - process.alpha_bar).sqrt(), t, x_t)

    def _log_parts(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> Tensor:
        """Returns log 1/K N(x_t; √ᾱ_t m_k, (ᾱ_t s² + 1 − ᾱ_t) I) for each k: [b, K]."""
        alpha_bar, noise, y = self._tables(process, x_t, t)
        means = self.means.to(x_t.device)
        variance = alpha_bar * self.s**2 + noise
        distance = (y[:, None] - alpha_bar.sqrt()[:, None] * means).square().sum(2)
        d = means.shape[1]
        return -0.5 * (distance / variance + d * (2 * math.pi * variance).log()) - math.log(len(means))

    def _tables(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> tuple[Tensor, Tensor, Tensor]:
        """Returns ᾱ_t and 1 − ᾱ_t, [b, 1], and x_t as [b, d], in float64."""
        y = x_t.double().flatten(1)
        return at(process.alpha_bar, t, y), at(1 - process.alpha_bar, t, y), y


class BestNetwork(nn.Module):
    """The network that training on a mixture would find at best: it returns the output for which x̂_0 = E[x_0 | x_t].

    Args:
        mixture: the data's distribution.
        process: the forward process.
        parameterization: what the network predicts.
    """

    def __init__(self, mixture: Mixture, process: GaussianDiffusion, parameterization: Parameterization) -> None:
        super().__init__()
        self.mixture, self.process, self.parameterization = mixture, process, parameterization

    def forward(self, x_t: Images, t: Tensor, y: Classes | None = None) -> Images:
        """Returns the output at x_t: [b, *d]; t: [b] in 0..T−1 and y: [b], as for every network."""
        x_t = x_t / self.parameterization.network_input(self.process, torch.ones_like(x_t), t + 1)
        x_0 = self.mixture.x_0(self.process, x_t, t + 1, y)
        return self.parameterization.target(self.process, x_0, x_t, t + 1)
