"""Images from a model: the reverse chain from noise that belongs to each image's number."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler, Step
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.typing import Images


@contextmanager
def evaluating(model: DenoisingDiffusion) -> Iterator[None]:
    """Inside, without dropout; after, as before."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


def walk(
    model: DenoisingDiffusion, sampler: Sampler, shape: tuple[int, ...], count: int, *, seed: int, first: int = 0
) -> Iterator[Step]:
    """The steps from x_T to x_0 for the images of numbers first..first+count−1 under this seed; shape: of one image."""
    device = model.process.alpha_bar.device
    noise = NoisePerImage(seed, range(first, first + count), device)
    with evaluating(model):
        yield from sampler.trajectory(model, noise.randn(*shape), randn_like=noise.randn_like)


def generate(
    model: DenoisingDiffusion, sampler: Sampler, shape: tuple[int, ...], count: int, *, seed: int, first: int = 0
) -> Images:
    """The images at the end of `walk`: [count, *shape] on the scale of the data, not clipped."""
    x = torch.empty(0)
    for step in walk(model, sampler, shape, count, seed=seed, first=first):
        x = step.x
    return x
