"""Compares the quality of samples by network calls: our samplers and diffusers' schedulers, on the same weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from benchmarks.device import device
from benchmarks.findings import Comparison, Figure, Findings, compare
from benchmarks.measure import spread
from benchmarks.sides.checkpoint import OfTrainedModel
from ddpm_lightning.configuration.build import EvaluationData, real_images
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.samplers import DDIMSampler, Sampler
from ddpm_lightning.diffusion.samplers.dpm_solver import DPMSolver
from ddpm_lightning.diffusion.samplers.spacing import QuadraticSpacing, TrailingSpacing
from ddpm_lightning.diffusion.samplers.unipc import UniPC
from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.reference import Statistics, frechet_distance, statistics_of
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import make_images

MakeSampler = Callable[[int], Sampler]
MakeScheduler = Callable[..., Any]

OURS: dict[str, MakeSampler] = {
    "ddim": lambda calls: DDIMSampler(num_steps=calls),
    "ddim, η = 1": lambda calls: DDIMSampler(num_steps=calls, eta=1.0),
    "ddim, η = 1, quadratic": lambda calls: DDIMSampler(num_steps=calls, eta=1.0, spacing=QuadraticSpacing()),
    "dpm_solver": lambda calls: DPMSolver(num_steps=calls),
    "ddim, η = 1, trailing": lambda calls: DDIMSampler(num_steps=calls, eta=1.0, spacing=TrailingSpacing()),
    "unipc, trailing": lambda calls: UniPC(num_steps=calls, spacing=TrailingSpacing()),
}
THEIRS: dict[str, MakeScheduler] = {
    "DDPMScheduler": DDPMScheduler,
    "DPMSolverMultistepScheduler": DPMSolverMultistepScheduler,
    "UniPCMultistepScheduler": UniPCMultistepScheduler,
}

AT_ONCE = 500
"""Number of images whose features are computed together."""

Distances = dict[str, list[float]]
"""Distances by sampler, one for each seed."""


@dataclass(frozen=True, kw_only=True)
class SampleQuality(OfTrainedModel):
    """Measures the Fréchet distance of samples to the training images, by network calls.

    The features are those that the run used, and the weights are the averaged ones. Each round has its own seed, and
    both sides have the same noise in it. Seeds differ by more than samplers do, so there are many rounds. Each side has
    those of its samplers that were its best at some budget in a run of all of them on three seeds, at d8fb9de. Ours has
    UniPC since then.
    """

    rounds: int = 7
    budgets: tuple[int, ...] = (10, 20, 50, 100)
    num_images: int = 300

    question = "How good are the samples at equal numbers of network calls per image?"

    def measure(self) -> Findings:
        model, data = self.checkpoint.load()
        if not isinstance(model.parameterization, Epsilon):
            raise UserError("diffusers' schedulers are given ε̂ here; give a checkpoint with parameterization=epsilon")
        judge = Judge.of(self.checkpoint.extractor(), data)
        findings = Findings()
        for calls in self.budgets:
            ours, theirs = self._distances(model, data, judge, calls)
            findings.comparisons.append(_best(calls, ours, theirs))
            findings.figures += [
                Figure(f"{calls} calls: {name}", spread(values), "Fréchet distance")
                for name, values in (ours | theirs).items()
            ]
        return findings

    def _distances(
        self, model: DenoisingDiffusion, data: EvaluationData, judge: "Judge", calls: int
    ) -> tuple[Distances, Distances]:
        images, seeds = range(self.num_images), range(self.rounds)
        ours = {
            name: [judge(make_images(model, make(calls), data, images, seed=seed)) for seed in seeds]
            for name, make in OURS.items()
        }
        theirs = {
            name: [judge(data.pixels.to_bytes(_walk(model, data, make, calls, images, seed))) for seed in seeds]
            for name, make in THEIRS.items()
        }
        return ours, theirs


@dataclass(frozen=True)
class Judge:
    """Maps images in 0..255 to their Fréchet distance to the training images."""

    extractor: Extractor
    real: Statistics

    @classmethod
    def of(cls, extractor: Extractor, data: EvaluationData) -> "Judge":
        """Returns the judge of a data set."""
        return cls(extractor, statistics_of(extract_all(extractor, real_images(data, "train")).features))

    def __call__(self, images: Tensor) -> float:
        return frechet_distance(
            self.real, statistics_of(extract_all(self.extractor, torch.split(images, 500)).features)
        )


def _best(calls: int, ours: Distances, theirs: Distances) -> Comparison:
    our_name, their_name = (min(found, key=lambda name: spread(found[name]).median) for found in (ours, theirs))
    return compare(
        f"{calls} network calls, the best of each side",
        (our_name, their_name),
        ours[our_name],
        theirs[their_name],
        "Fréchet distance",
        target=1.0,
    )


@torch.no_grad()
def _walk(
    model: DenoisingDiffusion, data: EvaluationData, make: MakeScheduler, calls: int, numbers: range, seed: int
) -> Tensor:
    """Generates x_0 by a scheduler of diffusers, on the model's β and with the same noise for each image."""
    betas = model.process.beta[1:].cpu().numpy()
    scheduler = make(num_train_timesteps=model.process.T, trained_betas=betas)
    scheduler.set_timesteps(calls)
    assert len(scheduler.timesteps) == calls
    noise = NoisePerImage(seed, numbers, device())
    x = noise.randn(data.channels, *data.size)
    for t in scheduler.timesteps:
        eps_hat = model.network(x, t.expand(len(x)).to(device()))
        x = scheduler.step(eps_hat, t, x, **_randomness(scheduler, noise)).prev_sample
    return x


def _randomness(scheduler: Any, noise: NoisePerImage) -> dict[str, list[torch.Generator]]:
    """Returns a generator for each image, for the scheduler that draws noise."""
    return {"generator": noise.generators} if isinstance(scheduler, DDPMScheduler) else {}
