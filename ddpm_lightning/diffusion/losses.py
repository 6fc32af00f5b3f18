"""The training objectives, one number for each example (Section 3.4 of the paper, and its readers' choices)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.likelihood import HasFirstStep, bits_per_dimension, bound_term
from ddpm_lightning.diffusion.model import DenoisingDiffusion, NetworkOutput
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError, check_positive
from ddpm_lightning.typing import Images, PerExample, Table, Timesteps


class Loss(ABC):
    """What one example costs at one t. The unit stands in each subclass."""

    @abstractmethod
    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        """x_0, eps: [b, *d]; t: [b] in 1..T. Returns [b]."""

    def check(self, variance: Variance) -> None:
        """Raises UserError where the loss cannot train the variance."""


class SquaredError(Loss):
    """w_t · mean (target − f)², over the dimensions of what the network predicts."""

    @abstractmethod
    def weight(self, model: DenoisingDiffusion) -> Table:
        """w_t: [T+1]."""

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
    """mean (target − f)²: [b]; with the ε-parameterization, Eq. 14."""
    return (model.target(x_0, x_t, t) - output.f).square().flatten(1).mean(1)


class Simple(SquaredError):
    """L_simple (Eq. 14): every t weighs the same. Unit: squared units of what the network predicts."""

    def weight(self, model: DenoisingDiffusion) -> Table:
        return torch.ones_like(model.process.alpha_bar)


@dataclass(frozen=True)
class MinSNR(SquaredError):
    """min(SNR(t), γ) · mean (x_0 − x̂_0)² (Hang et al., 2023). Unit: squared units of x_0, times the weight.

    gamma: the cap on the weight; 5 in their paper.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        check_positive("loss.gamma", self.gamma, "every step would weigh nothing; use 5")

    def weight(self, model: DenoisingDiffusion) -> Table:
        return x_0_weight(model, model.process.snr.clamp(max=self.gamma))


class TruncatedSNR(SquaredError):
    """max(SNR(t), 1) · mean (x_0 − x̂_0)² (Salimans & Ho, 2022): L_simple of ε, but where hardly a signal is left, x̂_0
    itself counts. Unit: squared units of x_0, times the weight."""

    def weight(self, model: DenoisingDiffusion) -> Table:
        return x_0_weight(model, model.process.snr.clamp(min=1))


@dataclass(frozen=True)
class P2(SquaredError):
    """(k + SNR(t))^−γ · mean (ε − ε̂)² (Choi et al., 2022, Eq. 8): the less, the less noise there is. With γ = 1 it is
    sigmoid(log k − log SNR)/k, the weight of Kingma & Gao (2023) where log SNR is drawn evenly, as by
    schedule=logsnr_linear. Unit: squared units of ε, times the weight.

    k: the SNR from which on steps weigh less. gamma: how much so; 0 is L_simple of ε.
    """

    k: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_positive("loss.k", self.k, "steps without a signal would weigh infinitely much; use 1")
        check_positive("loss.gamma", self.gamma, "it is L_simple of ε at 0, and less turns it round; use 1, or 0.5")

    def weight(self, model: DenoisingDiffusion) -> Table:
        snr = model.process.snr
        return x_0_weight(model, snr * (self.k + snr) ** -self.gamma)


def x_0_weight(model: DenoisingDiffusion, weight: Table) -> Table:
    """The weight of (target − f)² that makes it `weight` · (x_0 − x̂_0)², since x_0 − x̂_0 = c_out (target − f). Row 0,
    where SNR is infinite, weighs nothing."""
    _, c_out = model.parameterization.coefficients(model.learned_process)
    return torch.cat([weight.new_zeros(1), (weight * c_out[model.steps].square())[1:]])


class VDM(SquaredError):
    """One term of the bound with σ² = β̃, as VDM writes it: ½(SNR(t−1) − SNR(t)) ‖x_0 − x̂_0‖² (Kingma et al., 2021).

    At t = 1, where SNR(0) is infinite, the discrete decoder (Eq. 13). Unit: bits/dim of one term; T times the mean
    over t, plus L_T, is the bound.
    """

    def weight(self, model: DenoisingDiffusion) -> Table:
        snr = model.process.snr
        snr_drop = torch.cat([snr.new_zeros(2), snr[1:-1] - snr[2:]])  # rows 0 and 1 are not this formula's
        nats = 0.5 * x_0_weight(model, snr_drop)
        return nats / torch.log(nats.new_tensor(2.0))

    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        x_t = model.process.q_sample(x_0, t, eps)
        has_first = HasFirstStep(t)
        output = model(x_t, t)
        term = self.weight(model)[t].to(x_0.dtype) * squared_error(model, output, x_0, x_t, t)
        if not has_first:
            return term
        decoder = model.interpret(output, x_t, t).reverse.discretized_nll(x_0, model.levels)
        return torch.where(t == 1, bits_per_dimension(decoder, x_0), term)


class ELBO(Loss):
    """One term of the bound (Eq. 5 with 8 and 13), x̂_0 unclipped. Unit: bits/dim of one term, as in the official code.

    T times the mean over t, plus L_T, is the bound.
    """

    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        x_t = model.process.q_sample(x_0, t, eps)
        has_first = HasFirstStep(t)
        return bound_term(model, model(x_t, t), x_0, x_t, t, has_first=has_first)


@dataclass(frozen=True)
class Hybrid(Loss):
    """L_simple + λ L_vlb, where L_vlb trains Σ_θ alone (Nichol & Dhariwal, 2021, Eq. 16).

    Unit: L_simple's, plus λ times the bound in bits/dim (T times its term at t).
    vlb_weight: λ; 0.001 in their paper.
    """

    vlb_weight: float = 0.001

    def __post_init__(self) -> None:
        check_positive("loss.vlb_weight", self.vlb_weight, "Σ_θ would get no gradient; use 0.001")

    def check(self, variance: Variance) -> None:
        if not variance.learned:
            raise UserError(
                f"loss=hybrid adds the bound for the sake of a learned Σ_θ alone, but variance={variance.name} is "
                "fixed; use variance=learned_range or variance=learned, or loss=simple"
            )

    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        x_t = model.process.q_sample(x_0, t, eps)
        has_first = HasFirstStep(t)
        output = model(x_t, t)
        mean_frozen = output._replace(f=output.f.detach())
        bound = model.process.T * bound_term(model, mean_frozen, x_0, x_t, t, has_first=has_first)
        return squared_error(model, output, x_0, x_t, t) + self.vlb_weight * bound
