"""The quality of samples for so many network calls: our samplers against diffusers' schedulers, on the same weights."""

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
"""Images that are judged together."""

Distances = dict[str, list[float]]
"""By sampler: one distance for each seed."""


@dataclass(frozen=True, kw_only=True)
class SampleQuality(OfTrainedModel):
    """The Fréchet distance to the training images on the features that the run itself was judged by. Every round has
    a seed of its own; in it, both sides have the same noise, for x_T and for every step. One seed differs from the next
    by more than one sampler from another, hence so many. Each side has those of its samplers that led it at some budget
    in a run of all of them on three seeds, at d8fb9de; ours has UniPC since. The weights are the averaged ones."""

    rounds: int = 7
    budgets: tuple[int, ...] = (10, 20, 50, 100)
    num_images: int = 300

    question = "How good are the samples for so many network calls an image?"

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
    """Images in 0..255 to their Fréchet distance to the training images."""

    extractor: Extractor
    real: Statistics

    @classmethod
    def of(cls, extractor: Extractor, data: EvaluationData) -> "Judge":
        """The judge of this data."""
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
    """x_0 by a scheduler of diffusers, on the model's own β, with the model's own noise for each image."""
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
    """A generator for each image, for the one scheduler that draws."""
    return {"generator": noise.generators} if isinstance(scheduler, DDPMScheduler) else {}
