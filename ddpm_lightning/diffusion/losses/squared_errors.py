"""Training objectives, and those that are a weighted squared error (Ho et al., 2020, Section 3.4, and later work)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.model import DenoisingDiffusion, NetworkOutput
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError, check_interval, check_positive
from ddpm_lightning.typing import Images, Noise, NoisePairs, PerExample, Table, Timesteps


class Loss(ABC):
    """The loss of each example at one step t; the docstring of a subclass names its unit.

    Example:
        >>> class Absolute(Loss):
        ...     '''mean |target − f|. Unit: that of the network's output.'''
        ...
        ...     def __call__(self, model, x_0, t, eps):
        ...         x_t = model.process.q_sample(x_0, t, eps)
        ...         return (model.target(x_0, x_t, t) - model(x_t, t).f).abs().flatten(1).mean(1)
    """

    @abstractmethod
    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        """Returns the loss of each example: [b].

        Args:
            model: the reverse process to train.
            x_0: clean images in [−1, 1], [b, *d].
            t: [b] in 1..T.
            eps: the noise that `draw` returns: ε ~ N(0, I), [b, *d].
        """

    def draw(self, b: int, shape: Sequence[int], generator: torch.Generator) -> Noise:
        """Draws the noise for b examples of a shape: ε ~ N(0, I), [b, *shape].

        A loss that needs more noise than ε overrides this.

        Args:
            b: the batch size.
            shape: the shape of one example.
            generator: the source of randomness; the result lies on its device.
        """
        return torch.randn((b, *shape), generator=generator, device=generator.device)

    @property
    def of_network(self) -> "Loss":
        """The loss that measures the network alone: this one, unless it has parameters of its own."""
        return self

    def at_step(self, step: int) -> "Loss":
        """Returns the loss of one optimizer step: this one, unless the objective changes during training.

        Args:
            step: how many optimizer steps were made before.
        """
        return self

    def check(self, variance: Variance) -> None:
        """Raises UserError if the loss cannot train a model of this variance."""


class SquaredError(Loss):
    """w_t · mean (target − f)², the weighted squared error of what the network predicts.

    Example:
        >>> class SNRPlusOne(SquaredError):
        ...     '''(SNR(t) + 1) · mean (x_0 − x̂_0)², which is L_simple of a network that predicts v.'''
        ...
        ...     def weight(self, model):
        ...         return x_0_weight(model, model.process.snr + 1)
    """

    @abstractmethod
    def weight(self, model: DenoisingDiffusion) -> Table:
        """Returns w_t: [T+1]. Row 0 is not used."""

    def check(self, variance: Variance) -> None:
        if variance.learned:
            raise UserError(
                f"variance={variance.name} cannot be trained by a squared error, which gives Σ_θ no gradient; "
                "use loss=elbo or loss=hybrid, or variance=beta or variance=beta_tilde"
            )

    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        x_t = model.process.q_sample(x_0, t, eps)
        error = squared_error(model, model(x_t, t), x_0, x_t, t)
        return self.weight(model)[t].to(error.dtype) * error


def squared_error(
    model: DenoisingDiffusion, output: NetworkOutput, x_0: Images, x_t: Images, t: Timesteps
) -> PerExample:
    """Returns mean (target − f)² over the dimensions of each example: [b]. It is Eq. 14 if the network predicts ε."""
    return (model.target(x_0, x_t, t) - output.f).square().flatten(1).mean(1)


class Simple(SquaredError):
    """L_simple, the paper's choice: w_t = 1. Unit: that of the network's output, squared.

    L_simple = E_{t, x_0, ε} mean (ε − ε_θ(√ᾱ_t x_0 + √(1 − ᾱ_t) ε, t))²                            (Eq. 14)
    """

    def weight(self, model: DenoisingDiffusion) -> Table:
        return torch.ones_like(model.process.alpha_bar)


@dataclass(frozen=True)
class InputPerturbation(Simple):
    """L_simple of a network that sees a noisier x_t than its target belongs to. Unit: that of the output, squared.

        E_{t, x_0, ε, ξ} mean (ε − ε_θ(√ᾱ_t x_0 + √(1 − ᾱ_t) (ε + γ ξ), t))²,  ξ ~ N(0, I)

    In sampling, x_t holds the errors of the steps before; the perturbation prepares the network for them. A network
    that predicts something else than ε keeps the target of the x_t without ξ.

    Args:
        gamma: γ, at least 0; 0 is L_simple.

    References:
        Ning et al. (2023), "Input Perturbation Reduces Exposure Bias in Diffusion Models", Algorithm 1; γ = 0.1 there.
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_interval("loss.gamma", self.gamma, 0, math.inf, "0 is L_simple, the paper uses 0.1", ends="[)")

    def draw(self, b: int, shape: Sequence[int], generator: torch.Generator) -> Noise:
        """Draws ε and the perturbation ξ, both ~ N(0, I), for b examples of a shape: [b, 2, *shape]."""
        return torch.stack([super(InputPerturbation, self).draw(b, shape, generator) for _ in range(2)], dim=1)

    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: NoisePairs) -> PerExample:
        eps, xi = eps.unbind(1)
        x_t = model.process.q_sample(x_0, t, eps)
        perturbed = model.process.q_sample(x_0, t, eps + self.gamma * xi)
        return squared_error(model, model(perturbed, t), x_0, x_t, t)


@dataclass(frozen=True)
class MinSNR(SquaredError):
    """min(SNR(t), γ) · mean (x_0 − x̂_0)². Unit: that of x_0, squared.

    Args:
        gamma: the largest weight γ, above 0.

    References:
        Hang et al. (2023), "Efficient Diffusion Training via Min-SNR Weighting Strategy"; γ = 5 there.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        check_positive("loss.gamma", self.gamma, "every step would weigh nothing; use 5")

    def weight(self, model: DenoisingDiffusion) -> Table:
        return x_0_weight(model, model.process.snr.clamp(max=self.gamma))


class TruncatedSNR(SquaredError):
    """max(SNR(t), 1) · mean (x_0 − x̂_0)². Unit: that of x_0, squared.

    Where SNR(t) ≥ 1, it equals mean (ε − ε̂)², the term of L_simple. Where SNR(t) < 1, it is mean (x_0 − x̂_0)².

    References:
        Salimans & Ho (2022), "Progressive Distillation for Fast Sampling of Diffusion Models".
    """

    def weight(self, model: DenoisingDiffusion) -> Table:
        return x_0_weight(model, model.process.snr.clamp(min=1))


@dataclass(frozen=True)
class P2(SquaredError):
    """(k + SNR(t))^−γ · mean (ε − ε̂)², which weighs steps of little noise less. Unit: that of ε, squared.

    γ = 1 gives the sigmoid weight of Kingma & Gao (2023), sigmoid(log k − log SNR)/k, if log SNR is drawn uniformly,
    as with schedule=logsnr_linear.

    Args:
        k: the SNR from which on the weight falls, above 0.
        gamma: how fast it falls, above 0; at 0 it would be L_simple.

    References:
        Choi et al. (2022), "Perception Prioritized Training of Diffusion Models", Eq. 8.
        Kingma & Gao (2023), "Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation".
    """

    k: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_positive("loss.k", self.k, "steps without a signal would weigh infinitely much; use 1")
        check_positive("loss.gamma", self.gamma, "0 is L_simple of ε, and less reverses the weights; use 1, or 0.5")

    def weight(self, model: DenoisingDiffusion) -> Table:
        snr = model.process.snr
        return x_0_weight(model, snr * (self.k + snr) ** -self.gamma)


@dataclass(frozen=True)
class EDMLoss(SquaredError):
    """(σ² + σ_d²)/(σ σ_d)² · mean (x_0 − x̂_0)² with σ² = 1/SNR(t). Unit: that of EDM's F, squared.

    It equals L_simple of a network that predicts F; see the parameterization `EDM`.

    Args:
        sigma_data: σ_d, the standard deviation of the data on the scale [−1, 1], above 0.

    References:
        Karras et al. (2022), "Elucidating the Design Space of Diffusion-Based Generative Models", Table 1 and Eq. 8.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        check_positive("loss.sigma_data", self.sigma_data, "data of one value need no model; use 0.5")

    def weight(self, model: DenoisingDiffusion) -> Table:
        return x_0_weight(model, model.process.snr + self.sigma_data**-2)


def x_0_weight(model: DenoisingDiffusion, weight: Table) -> Table:
    """Returns the weight w'_t of (target − f)² that makes it w_t · (x_0 − x̂_0)²: w'_t = w_t c_out², [T+1].

    x_0 − x̂_0 = c_out (target − f) in every parameterization.

    Args:
        model: gives c_out.
        weight: w_t, [T+1]; row 0, where SNR is infinite, is replaced by 0.
    """
    _, c_out = model.parameterization.coefficients(model.trained_process)
    return torch.cat([weight.new_zeros(1), (weight * c_out[model.steps].square())[1:]])
