"""UniPC (Zhao et al., 2023): a predictor and corrector that needs about 10 network calls."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers.base import RandnLike, Step
from ddpm_lightning.diffusion.samplers.dpm_solver import DPMSolver
from ddpm_lightning.typing import Images


class _Past(NamedTuple):
    """A previous step: its t in the visited chain, the corrected x_t, and x̂_0 at the predicted x_t."""

    t: int
    x_t: Images
    x_0_hat: Images


@dataclass(frozen=True, kw_only=True)
class UniPC(DPMSolver):
    """UniPC-2 with B(h) = e^h − 1: DPM-Solver++(2M) predicts x_s, and x̂_0 at the prediction corrects it.

        x_s = σ_s/σ_t x_t + α_s (1 − e^−h) (x̂_0(t) + ρ D + ρ′ D′)              (Algorithm 5 of the reference)
        D = x̂_0(s) − x̂_0(t),  D′ = x̂_0(t) − x̂_0(t′)

    Here t′, t, s are successive visited steps and h = λ_s − λ_t; see `DPMSolver`. ρ and ρ′ make the result exact for
    an x̂_0 that is quadratic in λ. The second step has no D′, and ρ = ½. The correction raises the order from two to
    three. It costs no network call, because the next step needs x̂_0(s) anyway.

    `step` is the predictor alone, and `Step.x` the predicted x_s. The trajectory has a loop of its own, because a
    correction uses the network call of the step after it.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.

    References:
        Zhao et al. (2023), "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models".
    """

    name = "unipc"

    def trajectory(
        self, model: DenoisingDiffusion, x_T: Images, *, randn_like: RandnLike, start: int | None = None
    ) -> Iterator[Step]:
        model = self.chain(model)
        x, past = x_T, list[_Past]()
        for t in range(model.process.T if start is None else start, 0, -1):
            with torch.no_grad():
                steps = torch.full((len(x),), t, device=x.device)
                x_0_hat = model.predict_x_0(x, steps, self.clip_x_0)
                if past:
                    x = _corrected(model, t, x_0_hat, past)
                past = [*past[-1:], _Past(t, x, x_0_hat)]
                before = past[0].x_0_hat if len(past) > 1 else None
                x = self.predicted(model, x, steps, x_0_hat, before).mean
            yield Step(t, x, x_0_hat)


def _corrected(model: DenoisingDiffusion, s: int, x_0_hat: Images, past: list[_Past]) -> Images:
    """Returns the corrected x_s, from x̂_0 at the predicted x_s and one or two previous steps."""
    t, x_t, at_t = past[-1]
    alpha_bar = model.process.alpha_bar
    half_log_snr = model.process.half_log_snr
    h = half_log_snr[s] - half_log_snr[t]
    shift = x_0_hat - at_t  # D
    if len(past) == 1:
        bend = 0.5 * shift
    else:
        rho, rho_before = _weights(h, (half_log_snr[t] - half_log_snr[past[0].t]) / h)
        bend = rho * shift + rho_before * (at_t - past[0].x_0_hat)
    shrink = ((1 - alpha_bar[s]) / (1 - alpha_bar[t])).sqrt()
    return (shrink * x_t - alpha_bar[s].sqrt() * torch.expm1(-h) * (at_t + bend)).to(x_t.dtype)


def _weights(h: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ρ and ρ′ for a step of length h in λ after one of length r·h.

    They solve ρ + r ρ′ = b_1 and ρ − r² ρ′ = b_2. Here b_1 and b_2 are the means of u and u² for u in [0, 1] with a
    density ∝ exp(h u): the exact solution weighs x̂_0 at λ_t + h u by it.
    """
    phi_1 = -torch.expm1(-h)
    b_1 = 1 / phi_1 - 1 / h
    b_2 = 1 / phi_1 - 2 / h * b_1
    rho_before = (b_1 - b_2) / (r + r**2)
    return b_1 - r * rho_before, rho_before
