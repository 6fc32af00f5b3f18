"""The forward process in variance-exploding coordinates, y_t = x_0 + σ_t ε."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.typing import Images, Table, Timesteps


@dataclass(frozen=True)
class VarianceExploding:
    """A forward process seen in the coordinates y_t = x_t/√ᾱ_t, in which the signal is constant and the noise grows.

        q(y_t | x_0) = N(x_0, σ_t² I),  σ_t² = (1 − ᾱ_t)/ᾱ_t = 1/SNR(t)

    Every `GaussianDiffusion` is such a process, and every sequence σ_t gives a `GaussianDiffusion`; see
    `geometric_schedule`. So the package has one process, and this class only converts. The network sees
    x_t = √ᾱ_t y_t, which has about unit variance: the input scaling of Karras et al. (2022).

    Args:
        process: the forward process.

    References:
        Song & Ermon (2019), "Generative Modeling by Estimating Gradients of the Data Distribution".
        Song et al. (2021), "Score-Based Generative Modeling through Stochastic Differential Equations", Eq. 8, 9.
        Karras et al. (2022), "Elucidating the Design Space of Diffusion-Based Generative Models".
    """

    process: GaussianDiffusion

    @property
    def sigma(self) -> Table:
        """σ_t = √((1 − ᾱ_t)/ᾱ_t): [T+1], 0 in row 0."""
        return ((1 - self.process.alpha_bar) / self.process.alpha_bar).sqrt()

    def enter(self, x_t: Images, t: Timesteps) -> Images:
        """Converts x_t to y_t = x_t/√ᾱ_t: [b, *d]; t: [b] in 0..T."""
        return x_t / at(self.process.alpha_bar.sqrt(), t, x_t)

    def leave(self, y_t: Images, t: Timesteps) -> Images:
        """Converts y_t to x_t = √ᾱ_t y_t: [b, *d]; t: [b] in 0..T."""
        return y_t * at(self.process.alpha_bar.sqrt(), t, y_t)

    def marginal(self, x_0: Images, t: Timesteps) -> Gaussian:
        """Returns q(y_t | x_0) = N(x_0, σ_t² I).

        Args:
            x_0: clean images, [b, *d].
            t: [b] in 1..T.
        """
        return Gaussian(x_0, 2 * at(self.sigma.log(), t, x_0))

    def q_sample(self, x_0: Images, t: Timesteps, eps: Images) -> Images:
        """Returns y_t = x_0 + σ_t ε: [b, *d].

        Args:
            x_0: clean images, [b, *d].
            t: [b] in 0..T; t = 0 returns x_0.
            eps: ε ~ N(0, I), [b, *d].
        """
        return x_0 + at(self.sigma, t, x_0) * eps

    def score(self, model: DenoisingDiffusion, y_t: Images, t: Timesteps) -> Images:
        """Returns √ᾱ_t s_θ(√ᾱ_t y_t, t), an estimate of ∇ log q(y_t): [b, *d].

        Args:
            model: a reverse process on the same chain.
            y_t: [b, *d].
            t: [b] in 1..T.
        """
        return at(self.process.alpha_bar.sqrt(), t, y_t) * model.score(self.leave(y_t, t), t)
