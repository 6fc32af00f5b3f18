"""DPM-Solver++ (Lu et al., 2022): second-order solvers of the probability flow and of the reverse SDE."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.samplers.base import Sampler, Traits
from ddpm_lightning.typing import Images, Table, Timesteps


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Sampler):
    """DPM-Solver++(2M): steps from t to s, the visited step before it, along x̂_0 extrapolated from two steps.

        x_s = σ_s/σ_t x_t + (α_s − α_t σ_s/σ_t) D,  D = x̂_0 + h/(2h′) (x̂_0 − x̂_0′)   (Algorithm 2 of the reference)

    Here α = √ᾱ, σ = √(1 − ᾱ), λ = log α/σ and h = λ_s − λ_t; a prime marks the previous step. The first step, which
    has no previous one, and the last, where λ_s = ∞, are of first order: D = x̂_0, which is DDIM. It is deterministic.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.

    References:
        Lu et al. (2022), "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models".
    """

    name = "dpm_solver"

    @property
    def traits(self) -> Traits:
        return Traits(random=False)

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        x_0_hat = model.predict_x_0(x_t, t, self.clip_x_0)
        return Denoised(x_0_hat, self.predicted(model, x_t, t, x_0_hat, before))

    def predicted(
        self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, x_0_hat: Images, before: Images | None
    ) -> Gaussian:
        """Returns x_s as a Gaussian of variance 0.

        Args:
            model: the reverse process on the visited steps.
            x_t, x_0_hat: x_t and x̂_0 at it, [b, *d].
            t: [b] in 1..K.
            before: x̂_0 of the previous step, [b, *d]; None makes the step of first order.
        """
        alpha_bar = model.process.alpha_bar
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        shrink = sigma.roll(1) / sigma
        ahead = _extrapolated(model.process, t, x_0_hat, before)
        mean = at(shrink, t, x_t) * x_t + at(alpha.roll(1) - alpha * shrink, t, x_t) * ahead
        return Gaussian(mean, at((0 * alpha_bar).log(), t, x_t))


@dataclass(frozen=True, kw_only=True)
class DPMSolverSDE(DPMSolver):
    """SDE-DPM-Solver++(2M): the stochastic `DPMSolver`, which solves the reverse SDE in place of the probability flow.

        x_s = σ_s/σ_t e^−h x_t + α_s (1 − e^−2h) D + σ_s √(1 − e^−2h) z,  z ~ N(0, I)

    `DPMSolver` has the symbols. The same Gaussian is q(x_s | x_t, x_0) at x_0 = D. So this is ancestral sampling with
    σ_t² = β̃_t, except that x̂_0 is extrapolated from two steps.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.

    References:
        Lu et al. (2022), "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models".
    """

    name = "dpm_solver_sde"

    @property
    def traits(self) -> Traits:
        return Traits()

    def predicted(
        self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, x_0_hat: Images, before: Images | None
    ) -> Gaussian:
        return model.process.posterior(_extrapolated(model.process, t, x_0_hat, before), x_t, t)


def _extrapolated(process: GaussianDiffusion, t: Timesteps, x_0_hat: Images, before: Images | None) -> Images:
    """Returns D, x̂_0 extrapolated half a step ahead: [b, *d]. It is x̂_0 itself if there is none before it."""
    if before is None:
        return x_0_hat
    return x_0_hat + at(_look_ahead(process), t, x_0_hat) * (x_0_hat - before)


def _look_ahead(process: GaussianDiffusion) -> Table:
    """Returns h/(2h′) for t = 1..K−1, and 0 at t = 1: [K+1]."""
    half_log_snr = process.half_log_snr
    h = half_log_snr.roll(1) - half_log_snr
    factor = h / (2 * h.roll(-1))
    factor[:2] = 0
    return factor
