"""A solver of second order for the probability flow: good samples from 10 to 50 network calls."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.samplers.base import Sampler
from ddpm_lightning.typing import Images, Table, Timesteps


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Sampler):
    """DPM-Solver++(2M) (Lu et al., 2022, "DPM-Solver++", Algorithm 2), s the step before t:

    x_s = σ_s/σ_t x_t + (α_s − α_t σ_s/σ_t) D,  D = x̂_0 + h/(2h′) (x̂_0 − x̂_0′),

    α = √ᾱ, σ = √(1 − ᾱ), h = λ_s − λ_t for λ = log α/σ; a prime means the step before this one. Of first order, which
    is DDIM, at the first step, which has none before it, and at the last, where λ_s = ∞.
    """

    name = "dpm_solver"

    @property
    def random(self) -> bool:
        return False

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        x_0_hat = model.predict_x_0(x_t, t, self.clip_x_0)
        return Denoised(x_0_hat, self.predicted(model, x_t, t, x_0_hat, before))

    def predicted(
        self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, x_0_hat: Images, before: Images | None
    ) -> Gaussian:
        """x_s, which is certain."""
        alpha_bar = model.process.alpha_bar
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        shrink = sigma.roll(1) / sigma
        ahead = x_0_hat
        if before is not None:
            ahead = x_0_hat + at(_look_ahead(model.process), t, x_t) * (x_0_hat - before)
        mean = at(shrink, t, x_t) * x_t + at(alpha.roll(1) - alpha * shrink, t, x_t) * ahead
        return Gaussian(mean, at((0 * alpha_bar).log(), t, x_t))


def _look_ahead(process: GaussianDiffusion) -> Table:
    """h/(2h′) for t = 1..T−1 of the chain; 0 at t = 1."""
    half_log_snr = process.half_log_snr
    h = half_log_snr.roll(1) - half_log_snr
    factor = h / (2 * h.roll(-1))
    factor[:2] = 0
    return factor
