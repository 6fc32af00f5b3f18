"""How t is drawn in training (Algorithm 1, line 3): uniformly, evenly spread, or where the loss weighs most."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.typing import PerExample, Table, Timesteps


class Drawn(NamedTuple):
    """t: [b] in 1..T. weight: [b], so that E[weight · loss(t)] is the mean of loss over uniform t."""

    t: Timesteps
    weight: PerExample


class TimestepDistribution(ABC):
    """Draws b timesteps with the generator's device and randomness."""

    @abstractmethod
    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn: ...


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

    weights: process -> w_t as a table of T+1 rows, positive in rows 1..T.
    """

    weights: Callable[[GaussianDiffusion], Table]

    def draw(self, b: int, process: GaussianDiffusion, generator: torch.Generator) -> Drawn:
        w = self.weights(process)[1:].to(generator.device)
        p = w / w.sum()
        rows = torch.multinomial(p, b, replacement=True, generator=generator)
        return Drawn(rows + 1, (1 / (process.T * p[rows])).float())


def epsilon_weight(process: GaussianDiffusion) -> Table:
    """w_t = β_t²/(2σ_t² α_t (1 − ᾱ_t)) of Eq. 12, with σ_t² = β_t: what the bound gives ‖ε − ε_θ‖². [T+1]."""
    weight = process.beta / (2 * process.alpha * (1 - process.alpha_bar))
    return torch.cat([weight.new_zeros(1), weight[1:]])
