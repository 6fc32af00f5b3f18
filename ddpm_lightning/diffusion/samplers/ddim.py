"""DDIM (Song et al., 2021): fewer steps, deterministic if η = 0."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.process import at
from ddpm_lightning.diffusion.samplers.base import Sampler, Traits
from ddpm_lightning.errors import check_interval
from ddpm_lightning.typing import Images, Timesteps


@dataclass(frozen=True, kw_only=True)
class DDIMSampler(Sampler):
    """Steps from t to s, the visited step before it, along the predicted x̂_0 and ε̂.

        x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z,  σ² = η² β̃_t,  z ~ N(0, I)    (Eq. 12, 16 of the reference)

    ε̂ is computed from x_t and the clipped x̂_0.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.
        eta: η, in [0, 1]; 0 is deterministic, 1 is ancestral sampling with σ_t² = β̃_t.

    References:
        Song et al. (2021), "Denoising Diffusion Implicit Models".
    """

    eta: float = 0.0

    name = "ddim"

    def __post_init__(self) -> None:
        check_interval("eta", self.eta, 0, 1, "0 is deterministic, 1 is ancestral; choose between")

    @property
    def traits(self) -> Traits:
        return Traits(random=self.eta > 0, suffix=f"_eta{self.eta:g}" if self.eta else "")

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        x_0_hat = model.predict_x_0(x_t, t, self.clip_x_0)
        alpha_bar = model.process.alpha_bar
        alpha_bar_s = alpha_bar.roll(1)  # ᾱ_s
        sigma_squared = self.eta**2 * model.process.beta_tilde
        eps_hat = model.process.eps(x_0_hat, x_t, t)
        towards_x_t = (1 - alpha_bar_s - sigma_squared).clamp(min=0).sqrt()
        mean = at(alpha_bar_s.sqrt(), t, x_t) * x_0_hat + at(towards_x_t, t, x_t) * eps_hat
        return Denoised(x_0_hat, Gaussian(mean, at(sigma_squared.log(), t, x_t)))
