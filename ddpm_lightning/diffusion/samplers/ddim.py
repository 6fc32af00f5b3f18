"""DDIM (Song et al., 2021)."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.process import at
from ddpm_lightning.diffusion.samplers.base import Sampler
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Images, Timesteps


@dataclass(frozen=True, kw_only=True)
class DDIMSampler(Sampler):
    """x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z, σ² = η² β̃, s the step before t (Song et al., 2021, Eq. 12 and 16).

    eta: η, 0 for a deterministic walk; 1 is ancestral sampling with σ² = β̃. ε̂ follows from the clipped x̂_0.
    """

    eta: float = 0.0

    name = "ddim"

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise UserError(f"eta={self.eta} lies outside [0, 1]: 0 is deterministic, 1 is ancestral; choose between")

    @property
    def random(self) -> bool:
        return self.eta > 0

    def label(self, model: DenoisingDiffusion) -> str:
        return super().label(model) + (f"_eta{self.eta:g}" if self.eta else "")

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        x_0_hat = model.predict_x_0(x_t, t, self.clip_x_0)
        alpha_bar = model.process.alpha_bar
        alpha_bar_s = alpha_bar.roll(1)  # ᾱ of the step before; like all tables in float64, for 1 − ᾱ can be 1e-4
        sigma_squared = self.eta**2 * model.process.beta_tilde
        eps_hat = model.process.eps(x_0_hat, x_t, t)
        towards_x_t = (1 - alpha_bar_s - sigma_squared).clamp(min=0).sqrt()
        mean = at(alpha_bar_s.sqrt(), t, x_t) * x_0_hat + at(towards_x_t, t, x_t) * eps_hat
        return Denoised(x_0_hat, Gaussian(mean, at(sigma_squared.log(), t, x_t)))
