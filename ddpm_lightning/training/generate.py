"""Generates images and estimates bits/dim, with noise that depends only on the seed and each image's number."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from ddpm_lightning.configuration.build import ImageData
from ddpm_lightning.diffusion.likelihood import Estimate, estimate_bound
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.restoration.task import Task
from ddpm_lightning.diffusion.samplers import Sampler, Step, end_of
from ddpm_lightning.errors import Diverged
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.typing import AnyExamples, Images, Pixels, Table

T = TypeVar("T")


@contextmanager
def evaluating(model: DenoisingDiffusion) -> Iterator[None]:
    """Puts every submodule into evaluation mode, without dropout, and restores each mode on exit."""
    in_training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in in_training:
            part.training = True


@contextmanager
def frozen(model: DenoisingDiffusion) -> Iterator[None]:
    """Disables the gradients of all weights, and restores them on exit. A backward pass to x then needs less memory."""
    wanting = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in wanting:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in wanting:
            weight.requires_grad_(True)


def walk(
    model: DenoisingDiffusion,
    sampler: Sampler,
    shape: tuple[int, ...],
    count: int,
    *,
    seed: int,
    first: int = 0,
    task: Task | None = None,
) -> Iterator[Step]:
    """Yields the sampler's steps from x_T to x_0 for the images numbered first..first+count−1.

    Args:
        model: the diffusion model; it is in evaluation mode during each step.
        sampler: generates the images.
        shape: the shape (c, h, w) of one image.
        count: number of images.
        seed: seed of the images' noise.
        first: number of the first image.
        task: what the images are drawn for, on the given images of these numbers; None draws freely.
    """
    noise = NoisePerImage(seed, range(first, first + count), model.process.alpha_bar.device)
    x_T = noise.randn(*shape)
    if task is None:
        return walk_from(model, sampler, x_T, noise)
    return _evaluated(model, task.trajectory(model, sampler, x_T, randn_like=noise.randn_like))


def walk_from(
    model: DenoisingDiffusion, sampler: Sampler, x_t: Images, noise: NoisePerImage, start: int | None = None
) -> Iterator[Step]:
    """Yields the sampler's steps from x_t to x_0.

    Args:
        model: the diffusion model; it is in evaluation mode during each step.
        sampler: generates the images.
        x_t: noisy images, [b, c, h, w].
        noise: the noise of each image.
        start: the step of the sampler's chain at which x_t is; None for its end, T.
    """
    return _evaluated(model, sampler.trajectory(model, x_t, randn_like=noise.randn_like, start=start))


def _evaluated(model: DenoisingDiffusion, steps: Iterator[Step]) -> Iterator[Step]:
    """Yields the steps with the model in evaluation mode. Raises Interrupted if the run was asked to stop."""
    with evaluating(model):
        for step in steps:
            STOP.check()
            yield step


def estimate_batch(
    model: DenoisingDiffusion,
    batch: AnyExamples,
    proposal: Table,
    strata: int,
    *,
    seed: int,
    purpose: str,
    clip_x_0: bool = True,
) -> Estimate:
    """Returns estimates of the bound (Eq. 5) in bits/dim for each image of a batch.

    The draws of t and ε depend on (seed, purpose, image index), so the estimates are the same at any batch size and for
    any number of processes.

    Args:
        model: the diffusion model.
        batch: images on the model's scale, [b, c, h, w], their indices and their classes, [b].
        proposal: the distribution p(t) of the draws, [T + 1].
        strata: draws of t per image, one from each of as many strata of p(t).
        seed: seed of the draws.
        purpose: names these draws, to keep them apart from others of the same seed.
        clip_x_0: whether x̂_0 is clipped to [−1, 1], as in the paper's evaluation.
    """
    STOP.check()
    draws = NoisePerImage(seed, batch.indices.tolist(), batch.x_0.device, purpose)
    return estimate_bound(
        model.given(batch.y),
        batch.x_0,
        proposal,
        strata,
        rand=draws.rand,
        randn_like=draws.randn_like,
        clip_x_0=clip_x_0,
    )


def make_images(
    model: DenoisingDiffusion,
    sampler: Sampler,
    data: ImageData,
    numbers: range,
    *,
    seed: int,
    bar: "tqdm[Any] | None" = None,
    task: Task | None = None,
) -> Pixels:
    """Generates the images of these numbers as pixels in 0..255, [n, c, h, w], on the model's device.

    Args:
        model: the diffusion model.
        sampler: generates the images.
        data: defines the shape of the images and their pixels.
        numbers: the numbers of the images. An image depends only on its number and the seed.
        seed: seed of the images' noise.
        bar: a progress bar that advances by one per image and step.
        task: what the images are drawn for, on the given images of these numbers; None draws freely.

    Raises:
        Diverged: if an image has pixels that are NaN or infinite.
    """
    shape = (data.channels, *data.size)
    steps = walk(model, sampler, shape, len(numbers), seed=seed, first=numbers.start, task=task)
    x_0 = end_of(steps if bar is None else with_progress(steps, bar, len(numbers)))
    check_finite(x_0, numbers, seed)
    return data.pixels.to_bytes(x_0)


def check_finite(x_0: Images, numbers: Sequence[int], seed: int) -> None:
    """Raises Diverged if one of the images has pixels that are NaN or infinite. `numbers` are those of the images."""
    finite = x_0.isfinite().flatten(1).all(1)
    if not finite.all():
        raise Diverged(
            f"image {numbers[int((~finite).nonzero()[0])]} of seed {seed} has pixels that are NaN or infinite: the "
            "weights diverged in training, or are damaged; use an earlier checkpoint"
        )


def with_progress(steps: Iterable[T], bar: "tqdm[Any]", by: int = 1) -> Iterator[T]:
    """Yields the steps, advances the bar by `by` at each, and raises Interrupted if the run was asked to stop."""
    for step in steps:
        STOP.check()
        bar.update(by)
        yield step
