"""Distributions of the step t in training (Ho et al., 2020, Algorithm 1, line 3)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.errors import check_interval, check_positive
from ddpm_lightning.typing import PerExample, Table, Timesteps


class Drawn(NamedTuple):
    """Random steps for a batch, and weights for the losses at them.

    Args:
        t: [b] in 1..T.
        weight: [b]. 1/(T p(t)) makes the weighted loss unbiased: E[weight · loss(t)] = 1/T Σ_t loss(t).
    """

    t: Timesteps
    weight: PerExample


class TimestepDistribution(ABC):
    """A distribution p(t) over the steps 1..T.

    Example:
        >>> class AntitheticTimesteps(TimestepDistribution):
        ...     '''Uniform, in pairs of t and T + 1 − t.'''
        ...
        ...     def draw(self, b, process, generator):
        ...         t = torch.randint(1, process.T + 1, ((b + 1) // 2,), generator=generator)
        ...         return Drawn(torch.cat([t, process.T + 1 - t])[:b], torch.ones(b))
    """

    @abstractmethod
    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        """Draws a step for each of b examples.

        Args:
            b: the batch size.
            process: the forward process, which knows T.
            generator: the source of randomness; the result lies on its device.
        """


class UniformTimesteps(TimestepDistribution):
    """t ~ Uniform({1, …, T}), the paper's choice  (Algorithm 1)."""

    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        t = torch.randint(1, process.T + 1, (b,), generator=generator, device=generator.device)
        return Drawn(t, torch.ones_like(t, dtype=torch.float32))


class LowDiscrepancyTimesteps(TimestepDistribution):
    """Uniform for each example, but evenly spread over the batch, which lowers the variance of the mean loss.

        u_i = (u + i/b) mod 1  for one u ~ Uniform[0, 1),  t_i = 1 + ⌊T u_i⌋

    References:
        Kingma et al. (2021), "Variational Diffusion Models", App. I.1.
    """

    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        u = torch.rand(1, generator=generator, device=generator.device, dtype=torch.float64)
        spread = (u + torch.arange(b, device=u.device) / b) % 1
        t = 1 + (spread * process.T).long().clamp(max=process.T - 1)
        return Drawn(t, torch.ones_like(t, dtype=torch.float32))


@dataclass(frozen=True)
class ImportanceTimesteps(TimestepDistribution):
    """p(t) ∝ w_t, with losses weighted by 1/(T p(t)): the expectation of uniform t with another variance.

        p(t) = (1 − uniform_share) w_t/Σ_s w_s + uniform_share/T

    Args:
        weights: process -> w_t, [T+1], positive in rows 1..T.
        uniform_share: the share of p(t) that is spread evenly, in [0, 1). No example weighs more than
            1/uniform_share.
    """

    weights: Callable[[GaussianDiffusion], Table]
    uniform_share: float = 0.0

    def __post_init__(self) -> None:
        advice = "at 1 the weights would not count; use 0.1, or timesteps=uniform"
        check_interval("timesteps.uniform_share", self.uniform_share, 0, 1, advice, ends="[)")

    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        w = self.weights(process)[1:].to(generator.device)
        p = (1 - self.uniform_share) * w / w.sum() + self.uniform_share / process.T
        rows = torch.multinomial(p, b, replacement=True, generator=generator)
        return Drawn(rows + 1, (1 / (process.T * p[rows])).float())


def epsilon_weight(process: GaussianDiffusion) -> Table:
    """Returns the weight that the bound gives ‖ε − ε_θ‖² with σ_t² = β_t: [T+1], 0 in row 0.

    w_t = β_t²/(2σ_t² α_t (1 − ᾱ_t))                                                                (Eq. 12)
    """
    weight = process.beta / (2 * process.alpha * (1 - process.alpha_bar))
    return torch.cat([weight.new_zeros(1), weight[1:]])


def bound_weight(process: GaussianDiffusion) -> Table:
    """Returns L_{t−1} of the best network for x_0 ~ N(0, I): the weight of Eq. 12 times E‖ε − ε_θ‖² = ᾱ_t, [T+1].

    On a capped schedule, the weight of Eq. 12 alone is largest at t = T, where there is nothing to learn.
    """
    return epsilon_weight(process) * process.alpha_bar


@dataclass(frozen=True)
class LogNormalTimesteps(TimestepDistribution):
    """Draws the t whose ln σ_t is nearest to a sample of N(mean, std²), where σ_t² = (1 − ᾱ_t)/ᾱ_t. All weights are 1.

    So the mean loss is not that over uniform t. The distribution is part of EDM's objective.

    Args:
        mean: the mean of ln σ.
        std: the standard deviation of ln σ, above 0.

    References:
        Karras et al. (2022), "Elucidating the Design Space of Diffusion-Based Generative Models", Table 1; −1.2, 1.2.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        check_positive("timesteps.std", self.std, "a single noise level trains no chain; use 1")

    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        log_sigma = -process.half_log_snr[1:].to(generator.device)
        normal = torch.randn(b, generator=generator, device=generator.device, dtype=torch.float64)
        t = 1 + torch.searchsorted((log_sigma[1:] + log_sigma[:-1]) / 2, self.mean + self.std * normal)
        return Drawn(t, torch.ones_like(t, dtype=torch.float32))


@dataclass(frozen=True)
class LogitNormalTimesteps(LogNormalTimesteps):
    """Draws the t whose logit u_t is nearest to a sample of N(mean, std²). All weights are 1.

    u is the place on the straight path z = (1 − u) x_0 + u ε. Since logit u = ln σ, this is `LogNormalTimesteps` with
    the defaults of rectified flow.

    Args:
        mean: the mean of logit u.
        std: the standard deviation of logit u, above 0.

    References:
        Esser et al. (2024), "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", Section 3.1.
    """

    mean: float = 0.0
    std: float = 1.0
