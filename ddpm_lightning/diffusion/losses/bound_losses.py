"""Training objectives that are terms of the variational bound, in bits/dim (Ho et al., 2020, Eq. 5)."""

from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.likelihood import HasFirstStep, bits_per_dimension, bound_term
from ddpm_lightning.diffusion.losses.squared_errors import Loss, SquaredError, squared_error, x_0_weight
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError, check_positive
from ddpm_lightning.typing import Images, PerExample, Table, Timesteps


class VDM(SquaredError):
    """One term of the bound with σ_t² = β̃_t, in terms of SNR. Unit: bits/dim of one term.

        L_{t−1} = ½ (SNR(t−1) − SNR(t)) ‖x_0 − x̂_0‖²  for t > 1

    At t = 1, where SNR(0) is infinite, it is the discrete decoder's −log p_θ(x_0 | x_1) (Eq. 13). T times the mean
    over t, plus L_T, is the bound.

    References:
        Kingma et al. (2021), "Variational Diffusion Models".
    """

    def weight(self, model: DenoisingDiffusion) -> Table:
        snr = model.process.snr
        snr_drop = torch.cat([snr.new_zeros(2), snr[1:-1] - snr[2:]])  # Rows 0 and 1 are not used.
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
    """One term of the variational bound (Eq. 5 with Eq. 8 and 13), x̂_0 not clipped. Unit: bits/dim of one term.

    T times the mean over t, plus L_T, is the bound. The official code's "kl" loss has the same scale.
    """

    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        x_t = model.process.q_sample(x_0, t, eps)
        has_first = HasFirstStep(t)
        return bound_term(model, model(x_t, t), x_0, x_t, t, has_first=has_first)


@dataclass(frozen=True)
class Hybrid(Loss):
    """L_simple + λ L_vlb, in which the bound L_vlb trains Σ_θ alone.

    Unit: that of L_simple, plus λ times bits/dim of the bound (T times its term at t).

    Args:
        vlb_weight: λ, above 0.

    References:
        Nichol & Dhariwal (2021), "Improved Denoising Diffusion Probabilistic Models", Eq. 16; λ = 0.001 there.
    """

    vlb_weight: float = 0.001

    def __post_init__(self) -> None:
        check_positive("loss.vlb_weight", self.vlb_weight, "Σ_θ would get no gradient; use 0.001")

    def check(self, variance: Variance) -> None:
        if not variance.learned:
            raise UserError(
                f"loss=hybrid adds the bound only to train a learned Σ_θ, but variance={variance.name} is fixed; "
                "use variance=learned_range or variance=learned, or loss=simple"
            )

    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        x_t = model.process.q_sample(x_0, t, eps)
        has_first = HasFirstStep(t)
        output = model(x_t, t)
        mean_frozen = output._replace(f=output.f.detach())
        bound = model.process.T * bound_term(model, mean_frozen, x_0, x_t, t, has_first=has_first)
        return squared_error(model, output, x_0, x_t, t) + self.vlb_weight * bound
