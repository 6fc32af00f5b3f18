"""Samplers that take Langevin steps at each noise level: annealed Langevin dynamics, and predictor–corrector."""

from abc import abstractmethod
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.samplers.base import RandnLike, Sampler, Traits
from ddpm_lightning.diffusion.samplers.ddim import DDIMSampler
from ddpm_lightning.errors import check_interval, check_whole
from ddpm_lightning.typing import Images, Table, Timesteps

DENOISING_SIZE = 2.0
"""The size of a Langevin step whose mean is √ᾱ_t x̂_0 (Tweedie's formula); a longer one moves past it."""


def langevin_step(
    model: DenoisingDiffusion, x_t: Images, t: Timesteps, size: Table, clip_x_0: bool = False
) -> Denoised:
    """Returns x̂_0 at x_t, and the distribution after one Langevin step towards q(x_t).

        N(x_t + a/2 s_θ(x_t, t), a I),  a = size_t (1 − ᾱ_t)

    Args:
        model: the reverse process.
        x_t: [b, *d].
        t: [b] in 1..T.
        size: the step's size in units of the noise variance in x_t, [T+1].
        clip_x_0: whether to clip x̂_0 to [−1, 1]; s_θ is computed from the clipped x̂_0.
    """
    noise = 1 - model.process.alpha_bar
    x_0_hat = model.predict_x_0(x_t, t, clip_x_0)
    eps_hat = model.process.eps(x_0_hat, x_t, t)  # s_θ = −ε̂/√(1 − ᾱ_t)
    mean = x_t - at(size / 2 * noise.sqrt(), t, x_t) * eps_hat
    return Denoised(x_0_hat, Gaussian(mean, at((size * noise).log(), t, x_t)))


@dataclass(frozen=True, kw_only=True)
class CorrectingSampler(Sampler):
    """A sampler that takes Langevin steps at each t before the step to t − 1.

    Args:
        corrections: the number of Langevin steps at each t, in 0..10,000.

    Example:
        >>> class HalfwayCorrector(CorrectingSampler, DDIMSampler):
        ...     '''DDIM after Langevin steps half as long as one that denoises.'''
        ...
        ...     name = "halfway_corrector"
        ...
        ...     def size(self, process):
        ...         return torch.full_like(process.alpha_bar, DENOISING_SIZE / 2)
    """

    corrections: int

    def __post_init__(self) -> None:
        advice = "it counts Langevin steps at each t; more steps of t help sooner"
        check_whole("sampler.corrections", self.corrections, 0, advice, most=10_000)

    @property
    def traits(self) -> Traits:
        return Traits(calls_per_step=self.corrections + 1)

    @abstractmethod
    def size(self, process: GaussianDiffusion) -> Table:
        """Returns the size of a Langevin step at each t, in units of 1 − ᾱ_t: [T+1]."""

    def correct(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, randn_like: RandnLike) -> Images:
        size = self.size(model.process)
        for _ in range(self.corrections):
            x_t = langevin_step(model, x_t, t, size, self.clip_x_0).reverse.sample(randn_like(x_t))
        return x_t


@dataclass(frozen=True, kw_only=True)
class LangevinSampler(CorrectingSampler):
    """Annealed Langevin dynamics: corrections + 1 Langevin steps at each noise level, from high to low.

    It uses only the scores of q(x_t), and no transition of the chain. In the reference, y_t = x_0 + σ_t ε
    (`VarianceExploding`), and a step has the size ϵ σ_t²/σ_1². Since x_t = √ᾱ_t y_t, the same step here has the size
    step_size · (1 − ᾱ_t) with step_size = ϵ/σ_1². The next level starts from y_{t−1} = y_t, which is
    x_{t−1} = x_t/√(1 − β_t). The very last step returns x̂_0, as in Song & Ermon (2020).

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.
        corrections: the number of Langevin steps at each level before its last one, in 0..10,000.
        step_size: in (0, 2]. The reference has 2e-5/0.01² = 0.2, which leaves 5 % too much variance.

    References:
        Song & Ermon (2019), "Generative Modeling by Estimating Gradients of the Data Distribution", Algorithm 1.
        Song & Ermon (2020), "Improved Techniques for Training Score-Based Generative Models".
    """

    corrections: int = 9
    step_size: float = 0.2

    name = "langevin"

    def __post_init__(self) -> None:
        super().__post_init__()
        advice = "a longer step moves past the mean; Song & Ermon have 0.2"
        check_interval("sampler.step_size", self.step_size, 0, DENOISING_SIZE, advice, ends="(]")

    @property
    def traits(self) -> Traits:
        calls = self.corrections + 1
        return Traits(calls_per_step=calls, suffix=f"_{calls}each_step{self.step_size:g}")

    def size(self, process: GaussianDiffusion) -> Table:
        return torch.full_like(process.alpha_bar, self.step_size)

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        size = self.size(model.process)
        size[1] = DENOISING_SIZE
        x_0_hat, moved = langevin_step(model, x_t, t, size, self.clip_x_0)
        alpha = at(model.process.alpha, t, x_t)
        return Denoised(x_0_hat, Gaussian(moved.mean / alpha.sqrt(), moved.log_variance - alpha.log()))


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(CorrectingSampler, DDIMSampler):
    """Predictor–corrector sampling: at each t, Langevin steps correct x_t, and a DDIM step predicts x_{t−1}.

    η = 1 makes the predictor ancestral sampling with σ_t² = β̃_t, and η = 0 a step of the probability flow. The
    corrector moves x_t by

        ϵ s_θ + √(2ϵ) z,  ϵ = 2 α_t (r ‖z‖/‖s_θ‖)²                       (Algorithms 3 and 5 of the reference)

    The reference takes both norms as means over a batch. Here they are their expectations, √d and √d/√(1 − ᾱ_t). So
    no image depends on others, and small norms of s_θ in few dimensions cause no long steps. The reference corrects
    after each prediction; here the corrections come before it, at t = T too and not at t = 0.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.
        corrections: the number of Langevin steps at each t, in 1..10,000.
        eta: η of the predictor, in [0, 1]; see `DDIMSampler`.
        snr: r, in (0, 0.7]; the reference has 0.16 for CIFAR-10 with variance-exploding noise.

    References:
        Song et al. (2021), "Score-Based Generative Modeling through Stochastic Differential Equations".
    """

    corrections: int = 1
    eta: float = 1.0
    snr: float = 0.16

    name = "predictor_corrector"

    def __post_init__(self) -> None:
        check_whole("sampler.corrections", self.corrections, 1, "without corrections it is sampler=ddim")
        super().__post_init__()
        DDIMSampler.__post_init__(self)
        advice = "a correction would move past the mean; Song et al. have 0.16"
        check_interval("sampler.snr", self.snr, 0, 0.7, advice, ends="(]")

    @property
    def traits(self) -> Traits:
        predictor = DDIMSampler(eta=self.eta).traits
        suffix = f"{predictor.suffix}_{self.corrections}corrections_snr{self.snr:g}"
        return super().traits._replace(suffix=suffix)

    def size(self, process: GaussianDiffusion) -> Table:
        return 4 * self.snr**2 * process.alpha
