"""The samplers of EDM (Karras et al., 2022): Euler's and Heun's method with added noise (churn)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.samplers.base import RandnLike, Sampler, Step, Traits
from ddpm_lightning.diffusion.samplers.ddim import DDIMSampler
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Images, Timesteps

MAX_GAMMA = math.sqrt(2) - 1
"""The largest γ, at which a step doubles the noise variance."""


@dataclass(frozen=True, kw_only=True)
class EulerSampler(Sampler):
    """Euler's method on the probability flow, after raising the noise at each step (churn).

        σ̂ = (1 + γ) σ_t,  γ = min(churn/K, √2 − 1)
        ŷ = y_t + √(σ̂² − σ_t²) S_noise z,  z ~ N(0, I)
        y_s = ŷ + (σ_s − σ̂) (ŷ − D(ŷ, σ̂))/σ̂                   (Algorithm 2 of the reference, without its correction)

    Here y_t = x_t/√ᾱ_t and σ_t² = (1 − ᾱ_t)/ᾱ_t (`VarianceExploding`), D is x̂_0, and s the visited step before t. σ̂ is
    rounded to a noise level that the network was trained on. Without churn, this is DDIM with η = 0.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.
        churn: S_churn, at least 0; how much noise is added over all K steps.
        churn_min, churn_max: S_tmin and S_tmax; noise is added only if σ_t lies between them. None is no upper bound.
        churn_noise: S_noise, above 0; at 1, the noise added is what σ̂ needs.

    Raises:
        UserError: churn or churn_noise is out of its range.

    References:
        Karras et al. (2022), "Elucidating the Design Space of Diffusion-Based Generative Models", Algorithm 2.
    """

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float | None = None
    churn_noise: float = 1.0

    name = "euler"

    def __post_init__(self) -> None:
        if not (self.churn >= 0 and self.churn_noise > 0):
            raise UserError(
                f"sampler.churn={self.churn} and sampler.churn_noise={self.churn_noise} are not at "
                "least 0 and above 0; use 0 and 1 for a deterministic sampler"
            )

    @property
    def traits(self) -> Traits:
        return Traits(random=self.churn > 0, suffix=f"_churn{self.churn:g}" if self.churn else "")

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        return DDIMSampler(clip_x_0=self.clip_x_0).step(model, x_t, t)

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
                y = exploding.enter(x, all_at(here, x))
                if raised > here:
                    added = math.sqrt(sigma[raised] ** 2 - sigma[here] ** 2)
                    y = y + self.churn_noise * added * randn_like(x)
                y, x_0_hat = self.move(model, y, sigma, raised, after)
                x = exploding.leave(y, all_at(after, y))
            yield Step(t, x, x_0_hat)

    def move(
        self, model: DenoisingDiffusion, y: Images, sigma: list[float], t: int, after: int
    ) -> tuple[Images, Images]:
        """Follows the probability flow from step t to an earlier one. Returns y there, and x̂_0 at t: [b, *d] each.

        Args:
            model: the reverse process on all T steps.
            y: y_t = x_t/√ᾱ_t, [b, *d].
            sigma: σ_0 … σ_T.
            t: the step to start from, in 1..T.
            after: the step to reach, in 0..t−1.
        """
        x_0_hat = self._denoised(model, y, t)
        return self._next(model, y, (y - x_0_hat) / sigma[t], sigma, t, after), x_0_hat

    def _raised(self, sigma: list[float], t: int, K: int) -> int:
        """Returns the step of the model whose noise is nearest to (1 + γ) σ_t."""
        churn_max = math.inf if self.churn_max is None else self.churn_max
        if not (self.churn and self.churn_min <= sigma[t] <= churn_max):
            return t
        wanted = sigma[t] * (1 + min(self.churn / K, MAX_GAMMA))
        return min(range(t, len(sigma)), key=lambda each: abs(sigma[each] - wanted))

    def _denoised(self, model: DenoisingDiffusion, y: Images, t: int) -> Images:
        steps = all_at(t, y)
        return model.predict_x_0(VarianceExploding(model.process).leave(y, steps), steps, self.clip_x_0)

    def _next(
        self, model: DenoisingDiffusion, y: Images, slope: Images, sigma: list[float], t: int, after: int
    ) -> Images:
        """Returns y at step `after`, from y at step t and its slope dy/dσ there."""
        return y + (sigma[after] - sigma[t]) * slope


@dataclass(frozen=True, kw_only=True)
class HeunSampler(EulerSampler):
    """Heun's method on the probability flow, of second order, after raising the noise at each step (churn).

        y_s = ŷ + (σ_s − σ̂) ½ [(ŷ − D(ŷ, σ̂))/σ̂ + (y′ − D(y′, σ_s))/σ_s]         (Algorithm 2 of the reference)

    y′ is the result of `EulerSampler`, which has the other symbols. The last step is Euler's. So K steps take 2K − 1
    network calls per image.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.
        churn, churn_min, churn_max, churn_noise: see `EulerSampler`.

    References:
        Karras et al. (2022), "Elucidating the Design Space of Diffusion-Based Generative Models", Algorithm 2.
    """

    name = "heun"

    @property
    def traits(self) -> Traits:
        return super().traits._replace(calls_per_step=2, calls_saved=1)

    def _next(
        self, model: DenoisingDiffusion, y: Images, slope: Images, sigma: list[float], t: int, after: int
    ) -> Images:
        ahead = super()._next(model, y, slope, sigma, t, after)
        if after == 0:
            return ahead
        mean = (slope + (ahead - self._denoised(model, ahead, after)) / sigma[after]) / 2
        return super()._next(model, y, mean, sigma, t, after)


def all_at(t: int, x: Images) -> Timesteps:
    return torch.full((len(x),), t, device=x.device)
