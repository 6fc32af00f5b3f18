"""Measures what bits/dim to ±0.01 costs: by the estimate, and by the sum over every t."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from benchmarks.findings import Figure, Findings, compare
from benchmarks.measure import spread
from benchmarks.sides.checkpoint import OfTrainedModel
from ddpm_lightning.diffusion.likelihood import as_proposal, every_term, grid, pilot, prior_term
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import estimate_batch
from ddpm_lightning.typing import Examples


class Answer(NamedTuple):
    """Bits/dim of the images, its standard error and its cost."""

    bound: float
    error: float
    calls: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class BoundEstimate(OfTrainedModel):
    """Compares the estimate of bits/dim with the sum over every t, at equal accuracy.

    The estimate takes more draws of t until its own standard error is below the tolerance. Its cost is that of the
    pilot and of the final estimate, without the attempts before. Each round has its own seed. All rounds are compared
    with one sum over every t.
    """

    num_images: int = 1000
    tolerance: float = 0.01
    pilot_images: int = 16
    pilot_steps: int = 64

    question = "What does it cost to know bits/dim to ±0.01?"

    @torch.no_grad()
    def measure(self) -> Findings:
        model, data = self.checkpoint.load()
        x_0 = torch.cat([batch.x_0 for batch in data.in_order("test", first=self.num_images)])
        images = Examples(x_0.to(next(model.parameters()).device), torch.arange(len(x_0)))
        exact = [self._exact(model, images)] * self.rounds
        estimates = [self._estimate(model, images, seed) for seed in range(self.rounds)]
        sides, what = ("estimate", "every t"), f"bits/dim of {len(x_0)} images to ±{self.tolerance}"
        calls = compare(what, sides, [e.calls for e in estimates], [e.calls for e in exact], "network calls", 20.0)
        clock = compare(what, sides, [e.seconds for e in estimates], [e.seconds for e in exact], "s", 20.0)
        off = [abs(e.bound - other.bound) for e, other in zip(estimates, exact, strict=True)]
        return Findings([calls, clock], [Figure("estimate off the sum by", spread(off), "bits/dim", self.tolerance)])

    def _exact(self, model: DenoisingDiffusion, images: Examples) -> Answer:
        start = time.perf_counter()
        noise = _noise(images, 0, "bound")
        terms = every_term(model, images.x_0, randn_like=noise.randn_like)
        total = prior_term(model, images.x_0).double() + sum(each.term.double() for each in terms)
        return Answer(float(total.mean()), 0.0, model.process.T * len(images.x_0), time.perf_counter() - start)

    def _estimate(self, model: DenoisingDiffusion, images: Examples, seed: int) -> Answer:
        """Returns the cheapest estimate that is accurate enough."""
        return next(answer for answer in self._estimates(model, images, seed) if answer.error <= self.tolerance)

    def _estimates(self, model: DenoisingDiffusion, images: Examples, seed: int) -> Iterator[Answer]:
        start = time.perf_counter()
        x_0 = images.x_0[: self.pilot_images]
        noise = _noise(images, seed, "pilot")
        noise.generators = noise.generators[: len(x_0)]
        proposal = as_proposal(pilot(model, x_0, self.pilot_steps, randn_like=noise.randn_like))
        of_pilot = len(x_0) * len(grid(model.process.T, self.pilot_steps))
        spent = time.perf_counter() - start
        estimate = partial(estimate_batch, model, images, proposal, seed=seed, purpose="estimate")
        for strata in _ever_more():
            start = time.perf_counter()
            bound, variance = estimate(strata)
            took = time.perf_counter() - start
            error = math.sqrt(float(variance.mean()) / len(variance))
            yield Answer(float(bound.mean()), error, strata * len(variance) + of_pilot, spent + took)


def _ever_more() -> Iterator[int]:
    """Yields increasing numbers of draws, each a fifth or at least one more than the last."""
    strata = 2
    while True:
        yield strata
        strata = max(strata + 1, strata * 6 // 5)


def _noise(images: Examples, seed: int, purpose: str) -> NoisePerImage:
    return NoisePerImage(seed, images.indices.tolist(), images.x_0.device, purpose)
