"""Parameterizations: ways to read x̂_0 from the network's output (Ho et al., 2020, Section 3.2)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.errors import check_positive
from ddpm_lightning.typing import Images, Table, Timesteps


@dataclass(frozen=True)
class Parameterization(ABC):
    """The meaning of the network's output f, as coefficients of a linear equation for x̂_0.

        x̂_0 = c_skip·x_t + c_out·f

    Example:
        >>> class Score(Parameterization):
        ...     '''f = s_θ, the score: x̂_0 = (x_t + (1 − ᾱ_t) f)/√ᾱ_t (Tweedie's formula).'''
        ...
        ...     def coefficients(self, process):
        ...         return process.alpha_bar.rsqrt(), (1 - process.alpha_bar) / process.alpha_bar.sqrt()
    """

    @abstractmethod
    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        """Returns (c_skip, c_out) of x̂_0 = c_skip·x_t + c_out·f: two tables, [T+1]. Row 0 is not used."""

    def network_input(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> Images:
        """Returns the network's input for x_t: x_t itself, unless a subclass scales it. See `x_0` for the arguments."""
        return x_t

    def x_0(self, process: GaussianDiffusion, f: Images, x_t: Images, t: Timesteps) -> Images:
        """Returns x̂_0 = c_skip·x_t + c_out·f: [b, *d].

        Args:
            process: the forward process that the network was trained on.
            f: the network's output, [b, *d]; float32 or better, because the coefficients reach 1e4.
            x_t: noisy images, [b, *d].
            t: [b] in 1..T.
        """
        c_skip, c_out = self.coefficients(process)
        return at(c_skip, t, x_t) * x_t + at(c_out, t, x_t) * f

    def target(self, process: GaussianDiffusion, x_0: Images, x_t: Images, t: Timesteps) -> Images:
        """Returns the output for which x̂_0 = x_0, the target of training: f = (x_0 − c_skip·x_t)/c_out, [b, *d].

        Args:
            process: the forward process that the network is trained on.
            x_0, x_t: clean and noisy images, [b, *d].
            t: [b] in 1..T.
        """
        c_skip, c_out = self.coefficients(process)
        return (x_0 - at(c_skip, t, x_t) * x_t) / at(c_out, t, x_t)


class Epsilon(Parameterization):
    """f = ε, the noise in x_t; the paper's choice.

        x̂_0 = (x_t − √(1 − ᾱ_t) f)/√ᾱ_t                                                            (Eq. 15)

    The mean of p_θ(x_{t−1} | x_t) is then Eq. 11.
    """

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        alpha_bar = process.alpha_bar
        return alpha_bar.rsqrt(), -((1 - alpha_bar) / alpha_bar).sqrt()


class Mu(Parameterization):
    """f = μ̃_t, the mean of q(x_{t−1} | x_t, x_0); the paper's baseline (Eq. 8).

    x̂_0 = (f − c_x_t x_t)/c_x_0                                                     (Eq. 7 solved for x_0)
    """

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        return -process.c_x_t / process.c_x_0, 1 / process.c_x_0


class X0(Parameterization):
    """f = x_0, the clean image; the paper found worse samples with it (Section 3.2)."""

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        return torch.zeros_like(process.alpha_bar), torch.ones_like(process.alpha_bar)


class V(Parameterization):
    """f = v = √ᾱ_t ε − √(1 − ᾱ_t) x_0, mostly noise at small t, and mostly image at large t.

        x̂_0 = √ᾱ_t x_t − √(1 − ᾱ_t) f

    References:
        Salimans & Ho (2022), "Progressive Distillation for Fast Sampling of Diffusion Models".
    """

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        return process.alpha_bar.sqrt(), -(1 - process.alpha_bar).sqrt()


class Velocity(Parameterization):
    """f = ε − x_0, the velocity dz/du of the straight path z = (1 − u) x_0 + u ε of rectified flow.

        x̂_0 = z − u f,  z = x_t/(√ᾱ_t + √(1 − ᾱ_t)),  u = √(1 − ᾱ_t)/(√ᾱ_t + √(1 − ᾱ_t))

    x_t is a scaled point of that path, x_t = z/√((1 − u)² + u²), for every schedule.

    References:
        Liu et al. (2023), "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow", Eq. 1.
    """

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        signal, noise = process.alpha_bar.sqrt(), (1 - process.alpha_bar).sqrt()
        return 1 / (signal + noise), -noise / (signal + noise)


@dataclass(frozen=True)
class EDM(Parameterization):
    """f = F, the output of EDM's preconditioned network, whose input and target have unit variance.

        x̂_0 = D(y) = c_skip y + c_out F(c_in y),  y = x_t/√ᾱ_t,  σ² = (1 − ᾱ_t)/ᾱ_t      (Eq. 7 of the reference)
        c_skip = σ_d²/(σ² + σ_d²),  c_out = σ σ_d/√(σ² + σ_d²),  c_in = 1/√(σ² + σ_d²)

    For σ_d = 1, F = −v. The network is fed t − 1, as everywhere here; EDM feeds it c_noise = ¼ ln σ.

    Args:
        sigma_data: σ_d, the standard deviation of the data on the scale [−1, 1], above 0.

    References:
        Karras et al. (2022), "Elucidating the Design Space of Diffusion-Based Generative Models", Table 1; σ_d = 0.5.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        check_positive("parameterization.sigma_data", self.sigma_data, "data of one value need no model; use 0.5")

    def coefficients(self, process: GaussianDiffusion) -> tuple[Table, Table]:
        alpha_bar = process.alpha_bar
        variance = self._variance(process)
        return self.sigma_data**2 * alpha_bar.sqrt() / variance, self.sigma_data * ((1 - alpha_bar) / variance).sqrt()

    def network_input(self, process: GaussianDiffusion, x_t: Images, t: Timesteps) -> Images:
        return x_t / at(self._variance(process).sqrt(), t, x_t)

    def _variance(self, process: GaussianDiffusion) -> Table:
        """Returns ᾱ_t σ_d² + 1 − ᾱ_t, the variance of x_t: [T+1]."""
        return process.alpha_bar * self.sigma_data**2 + 1 - process.alpha_bar
