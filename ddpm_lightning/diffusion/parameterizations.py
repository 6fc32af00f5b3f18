"""What the network's output f means: each choice is a line x̂_0 = c_skip·x_t + c_out·f (Section 3.2 of the paper)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.typing import Images, Table, Timesteps


@dataclass(frozen=True)
class Parameterization(ABC):
    """Turns the network's output into x̂_0, and the other way round into what the network should have said."""

    @abstractmethod
    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        """(c_skip, c_out), each [T+1], of x̂_0 = c_skip·x_t + c_out·f."""

    def x_0(self, process: GaussianDiffusion, f: Images, x_t: Images, t: Timesteps) -> Images:
        """x̂_0 = c_skip·x_t + c_out·f. The coefficients reach 1e4, so f must be float32 or better."""
        c_skip, c_out = self.coefficients(process)
        return at(c_skip, t, x_t) * x_t + at(c_out, t, x_t) * f

    def target(self, process: GaussianDiffusion, x_0: Images, x_t: Images, t: Timesteps) -> Images:
        """The f that gives x̂_0 = x_0: (x_0 − c_skip·x_t)/c_out."""
        c_skip, c_out = self.coefficients(process)
        return (x_0 - at(c_skip, t, x_t) * x_t) / at(c_out, t, x_t)


class Epsilon(Parameterization):
    """f = ε: Eq. 4 solved for x_0, which makes the reverse mean Eq. 11."""

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        alpha_bar = process.alpha_bar
        return alpha_bar.rsqrt(), -((1 - alpha_bar) / alpha_bar).sqrt()


class Mu(Parameterization):
    """f = μ̃_t, the posterior mean (Eq. 8): Eq. 7 solved for x_0."""

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        return -process.c_x_t / process.c_x_0, 1 / process.c_x_0


class X0(Parameterization):
    """f = x_0 (Section 3.2: tried early on, worse samples)."""

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        return torch.zeros_like(process.alpha_bar), torch.ones_like(process.alpha_bar)


class V(Parameterization):
    """f = v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 (Salimans & Ho, 2022)."""

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        return process.alpha_bar.sqrt(), -(1 - process.alpha_bar).sqrt()
