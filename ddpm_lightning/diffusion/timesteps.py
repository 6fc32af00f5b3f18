"""How t is drawn in training (Algorithm 1, line 3): uniformly, evenly spread, or where the loss weighs most."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import PerExample, Table, Timesteps


class Drawn(NamedTuple):
    """t: [b] in 1..T. weight: [b], so that E[weight · loss(t)] is the mean of loss over uniform t."""

    t: Timesteps
    weight: PerExample


class TimestepDistribution(ABC):
    """A way to draw t."""

    @abstractmethod
    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        """b timesteps of 1..T and their weights, drawn from the generator, on its device."""


class UniformTimesteps(TimestepDistribution):
    """t ~ Uniform({1, …, T}), as in Algorithm 1."""

    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        t = torch.randint(1, process.T + 1, (b,), generator=generator, device=generator.device)
        return Drawn(t, torch.ones_like(t, dtype=torch.float32))


class LowDiscrepancyTimesteps(TimestepDistribution):
    """Uniform for each example, evenly spread over the batch: u_i = (u + i/b) mod 1 (Kingma et al., 2021, App. I.1)."""

    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        u = torch.rand(1, generator=generator, device=generator.device, dtype=torch.float64)
        spread = (u + torch.arange(b, device=u.device) / b) % 1
        t = 1 + (spread * process.T).long().clamp(max=process.T - 1)
        return Drawn(t, torch.ones_like(t, dtype=torch.float32))


@dataclass(frozen=True)
class ImportanceTimesteps(TimestepDistribution):
    """p(t) ∝ w_t, and the loss weighs 1/(T p(t)): the same expectation as uniform t, with another variance.

    weights: process -> w_t as a table of T+1 rows, positive in rows 1..T. uniform_share: in [0, 1), how much of p(t) is
    spread evenly, so that no example weighs more than 1/uniform_share.
    """

    weights: Callable[[GaussianDiffusion], Table]
    uniform_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.uniform_share < 1:
            raise UserError(
                f"timesteps.uniform_share={self.uniform_share} lies outside [0, 1): at 1 the weights would not count; "
                "use 0.1, or timesteps=uniform"
            )

    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        w = self.weights(process)[1:].to(generator.device)
        p = (1 - self.uniform_share) * w / w.sum() + self.uniform_share / process.T
        rows = torch.multinomial(p, b, replacement=True, generator=generator)
        return Drawn(rows + 1, (1 / (process.T * p[rows])).float())


def epsilon_weight(process: GaussianDiffusion) -> Table:
    """w_t = β_t²/(2σ_t² α_t (1 − ᾱ_t)) of Eq. 12, with σ_t² = β_t: what the bound gives ‖ε − ε_θ‖². [T+1]."""
    weight = process.beta / (2 * process.alpha * (1 - process.alpha_bar))
    return torch.cat([weight.new_zeros(1), weight[1:]])


def bound_weight(process: GaussianDiffusion) -> Table:
    """What the term L_{t−1} is for x_0 ~ N(0, I) and the best network: Eq. 12's weight times E‖ε − ε_θ‖² = ᾱ_t. [T+1].

    Eq. 12's weight alone is largest at t = T on a capped schedule, where there is nothing to learn.
    """
    return epsilon_weight(process) * process.alpha_bar
