"""The samplers of EDM: Euler's and Heun's method on the probability flow, with fresh noise between the steps."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.process import at
from ddpm_lightning.diffusion.samplers.base import RandnLike, Sampler, Step
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Images, Timesteps

MOST_CHURN = math.sqrt(2) - 1
"""The largest γ: a step adds at most as much noise as there is."""


@dataclass(frozen=True, kw_only=True)
class EulerSampler(Sampler):
    """Euler's method on dy/dσ = (y − D(y, σ))/σ, y = x_t/√ᾱ_t and D = x̂_0, with churn (Algorithm 2 without its line 8).

    Each step first raises the noise from σ_t to σ̂ = (1 + γ) σ_t, γ = min(churn/K, √2 − 1), and then goes down to the
    next σ. σ̂ is rounded to a noise level that the network was trained on. Without churn it is DDIM with η = 0.

    Args:
        churn: S_churn, at least 0; how much noise is added over all K steps.
        churn_min: S_tmin; no noise is added where σ_t is smaller.
        churn_max: S_tmax; no noise is added where σ_t is larger.
        churn_noise: S_noise, the standard deviation of the added noise, relative to what keeps q(y | σ̂); above 0.

    References:
        Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022), Algorithm 2.
    """

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    churn_noise: float = 1.0

    name = "euler"

    def __post_init__(self) -> None:
        if not (self.churn >= 0 and self.churn_noise > 0):
            raise UserError(
                f"sampler.churn={self.churn} and sampler.churn_noise={self.churn_noise} are not at "
                "least 0 and above 0; use 0 and 1 for a deterministic walk"
            )

    @property
    def random(self) -> bool:
        return self.churn > 0

    def label(self, model: DenoisingDiffusion) -> str:
        return super().label(model) + (f"_churn{self.churn:g}" if self.churn else "")

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        x_0_hat = model.predict_x_0(x_t, t, self.clip_x_0)
        alpha_bar = model.process.alpha_bar
        eps_hat = model.process.eps(x_0_hat, x_t, t)
        mean = at(alpha_bar.roll(1).sqrt(), t, x_t) * x_0_hat + at((1 - alpha_bar.roll(1)).sqrt(), t, x_t) * eps_hat
        return Denoised(x_0_hat, Gaussian(mean, at((0 * alpha_bar).log(), t, x_t)))

    def trajectory(
        self, model: DenoisingDiffusion, x_T: Images, *, randn_like: RandnLike, start: int | None = None
    ) -> Iterator[Step]:
        exploding = VarianceExploding(model.process)
        sigma = exploding.sigma.tolist()
        visited = [0, *self.visited(model)]
        K = len(visited) - 1
        x = x_T
        for t in range(K if start is None else start, 0, -1):
            with torch.no_grad():
                here, after = visited[t], visited[t - 1]
                raised = self._raised(sigma, here, K)
                y = exploding.enter(x, _all(here, x))
                if raised > here:
                    added = math.sqrt(sigma[raised] ** 2 - sigma[here] ** 2)
                    y = y + self.churn_noise * added * randn_like(x)
                x_0_hat = self._denoised(model, y, raised)
                slope = (y - x_0_hat) / sigma[raised]
                y = self._next(model, y, slope, sigma, raised, after)
                x = exploding.leave(y, _all(after, y))
            yield Step(t, x, x_0_hat)

    def _raised(self, sigma: list[float], t: int, K: int) -> int:
        """Returns the step of the model whose noise is nearest to (1 + γ) σ_t."""
        if not (self.churn and self.churn_min <= sigma[t] <= self.churn_max):
            return t
        wanted = sigma[t] * (1 + min(self.churn / K, MOST_CHURN))
        return min(range(t, len(sigma)), key=lambda each: abs(sigma[each] - wanted))

    def _denoised(self, model: DenoisingDiffusion, y: Images, t: int) -> Images:
        steps = _all(t, y)
        return model.predict_x_0(VarianceExploding(model.process).leave(y, steps), steps, self.clip_x_0)

    def _next(
        self, model: DenoisingDiffusion, y: Images, slope: Images, sigma: list[float], t: int, after: int
    ) -> Images:
        """Returns y at the noise level of the step `after`, for dy/dσ at step t."""
        return y + (sigma[after] - sigma[t]) * slope


@dataclass(frozen=True, kw_only=True)
class HeunSampler(EulerSampler):
    """Heun's method on dy/dσ = (y − D(y, σ))/σ, of second order, with churn (Algorithm 2).

    Each step but the last asks the network again at the end of Euler's step, and goes along the mean of the two slopes:
    2K − 1 network calls an image.

    References:
        Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022), Algorithm 2.
    """

    name = "heun"

    def calls(self, model: DenoisingDiffusion) -> int:
        return 2 * len(self.visited(model)) - 1

    def _next(
        self, model: DenoisingDiffusion, y: Images, slope: Images, sigma: list[float], t: int, after: int
    ) -> Images:
        ahead = super()._next(model, y, slope, sigma, t, after)
        if after == 0:
            return ahead
        mean = (slope + (ahead - self._denoised(model, ahead, after)) / sigma[after]) / 2
        return super()._next(model, y, mean, sigma, t, after)


def _all(t: int, x: Images) -> Timesteps:
    return torch.full((len(x),), t, device=x.device)
