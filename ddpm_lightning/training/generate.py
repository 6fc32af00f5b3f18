"""Images from a model: the reverse chain from noise that belongs to each image's number."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler, Step
from ddpm_lightning.seeding import NoisePerImage


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


def counted(steps: Iterable[Step], bar: "tqdm[Any]", by: int = 1) -> Iterator[Step]:
    """The steps, each of which moves the bar."""
    for step in steps:
        bar.update(by)
        yield step
