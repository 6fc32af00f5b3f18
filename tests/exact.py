"""The exact answer where there is one: networks for data x_0 ~ N(m, s²), known in closed form."""

import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.variances import BetaVariance, Variance


class ExactNetwork(nn.Module):
    """Says what a perfectly trained network would: the f that stands for E[x_0 | x_t] of data N(m, s²).

    v: what it says in the second half where the variance is learned: a function of t in 1..T.
    """

    def __init__(
        self,
        process: GaussianDiffusion,
        parameterization: Parameterization,
        m: float = 0.0,
        s: float = 1.0,
        v: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.process, self.parameterization, self.m, self.s, self.v = process, parameterization, m, s, v

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        t = t + 1
        x_t = x_t / self.parameterization.network_input(self.process, torch.ones_like(x_t), t)
        alpha_bar = at(self.process.alpha_bar, t, x_t)
        x_0 = self.m + self.gain(alpha_bar) * (x_t - alpha_bar.sqrt() * self.m)
        f = self.parameterization.target(self.process, x_0, x_t, t)
        return f if self.v is None else torch.cat([f, at(self.v, t, x_t).expand_as(f)], dim=1)

    def gain(self, alpha_bar: Tensor) -> Tensor:
        """By how much x_t moves x̂_0."""
        return alpha_bar.sqrt() * self.s**2 / (alpha_bar * self.s**2 + 1 - alpha_bar)


class ConsistencyNetwork(ExactNetwork):
    """Says the consistency function of data N(m, s²): the end of the path of the probability flow through x_t.

    The flow keeps the quantile of y_t = x_t/√ᾱ_t in N(m, s² + σ_t²).
    """

    def gain(self, alpha_bar: Tensor) -> Tensor:
        return self.s / (alpha_bar * self.s**2 + 1 - alpha_bar).sqrt()


def consistency_model(
    process: GaussianDiffusion, parameterization: Parameterization, m: float = 0.0, s: float = 1.0
) -> DenoisingDiffusion:
    """A model whose x̂_0 is the consistency function of data N(m, s²)."""
    network = ConsistencyNetwork(process, parameterization, m, s)
    return DenoisingDiffusion(network, process, parameterization, BetaVariance())


def exact_model(
    process: GaussianDiffusion,
    parameterization: Parameterization,
    variance: Variance,
    m: float = 0.0,
    s: float = 1.0,
    levels: int = 256,
    v: Tensor | None = None,
) -> DenoisingDiffusion:
    """p_θ with the exact network for data N(m, s²)."""
    network = ExactNetwork(process, parameterization, m, s, v)
    return DenoisingDiffusion(network, process, parameterization, variance, levels)


def four_corners() -> tuple[Tensor, Tensor]:
    """(x_0, ε) at (±1, ±1): four points whose first and second moments are those of two N(0, 1), so that the mean over
    them of anything quadratic is its expectation, exactly. Shapes [4, 1], float64."""
    x_0 = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    eps = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    return x_0[:, None], eps[:, None]
