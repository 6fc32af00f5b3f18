"""Restart sampling (Xu et al., 2023): the probability flow, with returns to more noise."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.samplers.base import RandnLike, Sampler, Step, Traits
from ddpm_lightning.diffusion.samplers.edm import HeunSampler, all_at
from ddpm_lightning.diffusion.samplers.spacing import KarrasSpacing
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.errors import UserError, check_positive, check_whole, counted
from ddpm_lightning.typing import Images, Timesteps


@dataclass(frozen=True, kw_only=True)
class RestartSampler(Sampler):
    """Heun's method on the probability flow that returns from low to higher noise a few times.

        at σ_min, restarts times:  y ← y + √(σ_max² − σ_min²) z,  z ~ N(0, I);  Heun's method from σ_max to σ_min

    Here y_t = x_t/√ᾱ_t and σ_t² = (1 − ᾱ_t)/ᾱ_t (`VarianceExploding`). The new noise contracts the errors of earlier
    steps. The flow adds only small errors of its own.

    The sampler restarts at the visited step whose σ_t is nearest to σ_min. It returns to the step of the model whose
    σ_t is nearest to σ_max, at least restart_steps higher. The steps between them lie evenly in σ^(1/7), rounded to the
    model's. K steps of the chain take 2K − 1 network calls per image, and the restarts 2 · restarts · restart_steps.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.
        restarts: how many times sampling returns to σ_max, in 1..10,000.
        restart_steps: the number of steps from σ_max to σ_min, in 1..10,000.
        sigma_min: σ_min, the noise at which sampling restarts, above 0.
        sigma_max: σ_max, the noise to which it returns, above sigma_min.

    Raises:
        UserError: an argument is out of its range. `chain` raises it if no visited step leaves room for a restart.

    References:
        Xu et al. (2023), "Restart Sampling for Improving Generative Processes". The defaults are the example of its
        published code. Its N_Restart counts noise levels, so it is restart_steps + 1.
    """

    restarts: int = 2
    restart_steps: int = 2
    sigma_min: float = 0.06
    sigma_max: float = 0.30

    name = "restart"

    def __post_init__(self) -> None:
        check_whole("sampler.restarts", self.restarts, 1, "without restarts it is sampler=heun", most=10_000)
        check_whole("sampler.restart_steps", self.restart_steps, 1, "the way back is at least a step", most=10_000)
        check_positive("sampler.sigma_min", self.sigma_min, "there is no step back from clean images; use 0.06")
        check_positive("sampler.sigma_max", self.sigma_max, "use 0.3")
        if self.sigma_max <= self.sigma_min:
            raise UserError(
                f"sampler.sigma_max={self.sigma_max} does not exceed sampler.sigma_min={self.sigma_min}, but a restart "
                "returns to more noise; use 0.3 and 0.06"
            )

    @property
    def traits(self) -> Traits:
        suffix = f"_{self.restarts}x{self.restart_steps}_sigma{self.sigma_min:g}to{self.sigma_max:g}"
        calls_added = 2 * self.restarts * self.restart_steps
        return HeunSampler().traits._replace(random=True, calls_added=calls_added, suffix=suffix)

    def at_most_all(self, model: DenoisingDiffusion) -> Sampler:
        """See `Sampler`. restart_steps is lowered to T − 1, too, if it is larger."""
        return Sampler.at_most_all(replace(self, restart_steps=min(self.restart_steps, model.process.T - 1)), model)

    def chain(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        self.way_back(model)  # raises UserError if the chain is too short for a restart
        return super().chain(model)

    def way_back(self, model: DenoisingDiffusion) -> list[int]:
        """Returns the steps in 1..T from σ_max to σ_min, descending. Raises UserError if the chain is too short."""
        sigma = VarianceExploding(model.process).sigma.tolist()
        visited, T = self.visited(model), model.process.T
        lower = [t for t in visited[:-1] if t + self.restart_steps <= T]
        if not lower:
            raise UserError(
                f"sampler=restart visits {counted(len(visited), 'step')} of T={T}, which leaves no room to return by "
                f"sampler.restart_steps={self.restart_steps}; use more steps, or sampler=heun"
            )
        low = min(lower, key=lambda t: abs(sigma[t] - self.sigma_min))
        high = min(range(low + self.restart_steps, T + 1), key=lambda t: abs(sigma[t] - self.sigma_max))
        between = model.coarsen(list(range(low, high + 1))).process
        return [low - 1 + step for step in reversed(KarrasSpacing().steps(between, self.restart_steps + 1))]

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        return self._heun.step(model, x_t, t)

    def trajectory(
        self, model: DenoisingDiffusion, x_T: Images, *, randn_like: RandnLike, start: int | None = None
    ) -> Iterator[Step]:
        exploding = VarianceExploding(model.process)
        visited = [0, *self.visited(model)]
        sigma = exploding.sigma.tolist()
        way_back = self.way_back(model)
        x = x_T
        for t in range(len(visited) - 1 if start is None else start, 0, -1):
            with torch.no_grad():
                here, after = visited[t], visited[t - 1]
                y, x_0_hat = self._heun.move(model, exploding.enter(x, all_at(here, x)), sigma, here, after)
                for _ in range(self.restarts if after == way_back[-1] else 0):
                    y = self._restarted(model, y, sigma, way_back, randn_like)
                x = exploding.leave(y, all_at(after, y))
            yield Step(t, x, x_0_hat)

    @property
    def _heun(self) -> HeunSampler:
        return HeunSampler(clip_x_0=self.clip_x_0)

    def _restarted(
        self, model: DenoisingDiffusion, y: Images, sigma: list[float], way_back: list[int], randn_like: RandnLike
    ) -> Images:
        """Returns y at σ_min after its noise was raised to σ_max, and the flow led it back."""
        y = y + math.sqrt(sigma[way_back[0]] ** 2 - sigma[way_back[-1]] ** 2) * randn_like(y)
        for t, after in pairwise(way_back):
            y, _ = self._heun.move(model, y, sigma, t, after)
        return y
