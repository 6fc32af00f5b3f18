"""Variance-exploding noise, y_t = x_0 + σ_t ε: the forward process in other coordinates."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.typing import Images, Table, Timesteps


@dataclass(frozen=True)
class VarianceExploding:
    """q(y_t | x_0) = N(x_0, σ_t² I) (Song & Ermon, 2019; Song et al., 2021, Eq. 8 and 9).

    y_t = x_t/√ᾱ_t with σ_t² = (1 − ᾱ_t)/ᾱ_t = 1/SNR(t): each chain of `GaussianDiffusion` is one of these, and each of
    these is one of those (`schedule=ve_geometric` gives σ_t, and by it β_t). So there is one process in the house, and
    this is the other view of it. A network trained here sees √ᾱ_t y_t, of about unit variance, not y_t, which reaches
    σ_T: the input scaling of Karras et al. (2022).
    """

    process: GaussianDiffusion

    @property
    def sigma(self) -> Table:
        """σ_t, [T+1]; 0 in row 0."""
        return ((1 - self.process.alpha_bar) / self.process.alpha_bar).sqrt()

    def enter(self, x_t: Images, t: Timesteps) -> Images:
        """y_t = x_t/√ᾱ_t: [b, *d]; t: [b] in 0..T."""
        return x_t / at(self.process.alpha_bar.sqrt(), t, x_t)

    def leave(self, y_t: Images, t: Timesteps) -> Images:
        """x_t = √ᾱ_t y_t: [b, *d]; t: [b] in 0..T."""
        return y_t * at(self.process.alpha_bar.sqrt(), t, y_t)

    def marginal(self, x_0: Images, t: Timesteps) -> Gaussian:
        """q(y_t | x_0) = N(x_0, σ_t² I); x_0: [b, *d], t: [b] in 1..T."""
        return Gaussian(x_0, 2 * at(self.sigma.log(), t, x_0))

    def q_sample(self, x_0: Images, t: Timesteps, eps: Images) -> Images:
        """y_t = x_0 + σ_t ε: [b, *d]; t: [b] in 0..T."""
        return x_0 + at(self.sigma, t, x_0) * eps

    def score(self, model: DenoisingDiffusion, y_t: Images, t: Timesteps) -> Images:
        """√ᾱ_t s_θ(√ᾱ_t y_t, t), an estimate of ∇ log q(y_t): [b, *d]; t: [b] in 1..T of the model's chain."""
        return at(self.process.alpha_bar.sqrt(), t, y_t) * model.score(self.leave(y_t, t), t)
