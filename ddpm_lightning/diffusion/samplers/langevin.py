"""Samplers that move by the score within one noise level: annealed Langevin dynamics, and predictor–corrector."""

from abc import abstractmethod
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.samplers.base import RandnLike, Sampler
from ddpm_lightning.diffusion.samplers.ddim import DDIMSampler
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.typing import Images, Table, Timesteps

TO_THE_MEAN = 2.0
"""The size of a Langevin step whose mean is √ᾱ_t x̂_0 (Tweedie's formula)."""

MOST = 10_000
"""Langevin steps at one t."""


def langevin_step(
    model: DenoisingDiffusion, x_t: Images, t: Timesteps, size: Table, clip_x_0: bool = False
) -> Denoised:
    """x̂_0 at x_t, and N(x_t + a/2 s_θ(x_t, t), a I): a step towards q(x_t) of length a = size_t (1 − ᾱ_t).

    size: [T+1], in units of the variance of the noise in x_t. t: [b] in 1..T. s_θ follows from the clipped x̂_0.
    """
    noise = 1 - model.process.alpha_bar
    x_0_hat = model.predict_x_0(x_t, t, clip_x_0)
    eps_hat = model.process.eps(x_0_hat, x_t, t)  # s_θ = −ε̂/√(1 − ᾱ_t)
    mean = x_t - at(size / 2 * noise.sqrt(), t, x_t) * eps_hat
    return Denoised(x_0_hat, Gaussian(mean, at((size * noise).log(), t, x_t)))


@dataclass(frozen=True, kw_only=True)
class CorrectingSampler(Sampler):
    """Makes `corrections` Langevin steps at each t, before the step to t − 1."""

    corrections: int

    def __post_init__(self) -> None:
        check_whole("sampler.corrections", self.corrections, 0, "it counts Langevin steps at each t")
        check_at_most("sampler.corrections", self.corrections, MOST, "more steps of t help sooner")

    @property
    def random(self) -> bool:
        return True

    @property
    def calls_per_step(self) -> int:
        return self.corrections + 1

    @abstractmethod
    def size(self, process: GaussianDiffusion) -> Table:
        """Of a Langevin step at each t, in units of 1 − ᾱ_t: [T+1]."""

    def correct(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, randn_like: RandnLike) -> Images:
        size = self.size(model.process)
        for _ in range(self.corrections):
            x_t = langevin_step(model, x_t, t, size, self.clip_x_0).reverse.sample(randn_like(x_t))
        return x_t


@dataclass(frozen=True, kw_only=True)
class LangevinSampler(CorrectingSampler):
    """Annealed Langevin dynamics (Song & Ermon, 2019, Algorithm 1), which knows nothing of the chain but its q(x_t):
    corrections + 1 steps of Langevin dynamics at each noise level, then on to the next from where they led.

    There the data stay and the noise grows, y_t = x_0 + σ_t ε (`VarianceExploding`), and a step has the length
    ϵ σ_t²/σ_1². Here x_t = √ᾱ_t y_t, so the same step has ᾱ_t times that, step_size · (1 − ᾱ_t) for step_size = ϵ/σ_1²;
    and y_{t−1} := y_t is x_{t−1} := x_t/√α_t, α_t = 1 − β_t. The very last step leads to x̂_0 (Song & Ermon, 2020).
    step_size: theirs is 2e-5/0.01² = 0.2. Too long a step leaves noise: at 0.2, 5 % of the variance.
    """

    corrections: int = 9
    step_size: float = 0.2

    name = "langevin"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.step_size <= TO_THE_MEAN:
            raise UserError(
                f"sampler.step_size={self.step_size} lies outside (0, {TO_THE_MEAN:g}]: a longer step leads past the "
                "mean; Song & Ermon have 0.2"
            )

    def label(self, model: DenoisingDiffusion) -> str:
        return f"{super().label(model)}_{self.calls_per_step}each_step{self.step_size:g}"

    def size(self, process: GaussianDiffusion) -> Table:
        return torch.full_like(process.alpha_bar, self.step_size)

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        size = self.size(model.process)
        size[1] = TO_THE_MEAN
        x_0_hat, moved = langevin_step(model, x_t, t, size, self.clip_x_0)
        alpha = at(model.process.alpha, t, x_t)
        return Denoised(x_0_hat, Gaussian(moved.mean / alpha.sqrt(), moved.log_variance - alpha.log()))


@dataclass(frozen=True, kw_only=True)
class PredictorCorrector(CorrectingSampler, DDIMSampler):
    """Steps from t to t − 1 that a solver predicts, each after Langevin steps at t that correct what the one before it
    did wrong (Song et al., 2021, Algorithms 3 and 5; the correction at t = T comes on top, and none is left at t = 0).

    The predictor is DDIM's step: η = 1 is the ancestral one with β̃, η = 0 that of the probability flow. The corrector
    moves by ϵ s_θ + √(2ϵ) z, ϵ = 2 α_t (r ‖z‖/‖s_θ‖)². There the two norms are means over a batch; here they are what
    they are on average, √d and √d/√(1 − ᾱ_t), so that no image depends on others and none is thrown far where
    s_θ = 0, as happens in few dimensions. snr: r, theirs is 0.16 for CIFAR-10 of exploding variance.
    """

    corrections: int = 1
    eta: float = 1.0
    snr: float = 0.16

    name = "predictor_corrector"

    def __post_init__(self) -> None:
        check_whole("sampler.corrections", self.corrections, 1, "without corrections it is sampler=ddim")
        super().__post_init__()
        DDIMSampler.__post_init__(self)
        if not 0 < self.snr <= 0.7:
            raise UserError(
                f"sampler.snr={self.snr} lies outside (0, 0.7]: a correction would lead past the mean; Song et al. "
                "have 0.16"
            )

    def label(self, model: DenoisingDiffusion) -> str:
        return f"{super().label(model)}_{self.corrections}corrections_snr{self.snr:g}"

    def size(self, process: GaussianDiffusion) -> Table:
        return 4 * self.snr**2 * process.alpha
