"""What a model makes and what it costs, with noise that belongs to each image's number: samples, and bits/dim."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from ddpm_lightning.configuration.build import ImageData
from ddpm_lightning.diffusion.likelihood import Estimate, estimate_bound
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler, Step, end_of
from ddpm_lightning.errors import Diverged
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.typing import Examples, Images, Pixels, Table

T = TypeVar("T")


@contextmanager
def evaluating(model: DenoisingDiffusion) -> Iterator[None]:
    """Inside, every part of the model is in evaluation mode, without dropout; after, in the mode it had before."""
    in_training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in in_training:
            part.training = True


@contextmanager
def frozen(model: DenoisingDiffusion) -> Iterator[None]:
    """Inside, weights want no gradients, for which a pass back to x would keep activations; after, as before."""
    wanting = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in wanting:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in wanting:
            weight.requires_grad_(True)


def walk(
    model: DenoisingDiffusion, sampler: Sampler, shape: tuple[int, ...], count: int, *, seed: int, first: int = 0
) -> Iterator[Step]:
    """The steps from x_T to x_0 for the images of numbers first..first+count−1 under this seed; shape: of one image."""
    noise = NoisePerImage(seed, range(first, first + count), model.process.alpha_bar.device)
    return onward(model, sampler, noise.randn(*shape), noise)


def onward(
    model: DenoisingDiffusion, sampler: Sampler, x_t: Images, noise: NoisePerImage, start: int | None = None
) -> Iterator[Step]:
    """The steps from x_t, which stands at step `start` of the chain walked (None: at its end, T), to x_0."""
    with evaluating(model):
        for step in sampler.trajectory(model, x_t, randn_like=noise.randn_like, start=start):
            STOP.check()
            yield step


def estimate_batch(
    model: DenoisingDiffusion,
    batch: Examples,
    proposal: Table,
    strata: int,
    *,
    seed: int,
    purpose: str,
    clip_x_0: bool = True,
) -> Estimate:
    """Eq. 5 for each image of a batch, estimated; the draws of t and ε belong to (seed, purpose, image), so it is the
    same number at any batch size and for any number of processes."""
    STOP.check()
    draws = NoisePerImage(seed, batch.indices.tolist(), batch.x_0.device, purpose)
    return estimate_bound(
        model, batch.x_0, proposal, strata, rand=draws.rand, randn_like=draws.randn_like, clip_x_0=clip_x_0
    )


def make_images(
    model: DenoisingDiffusion,
    sampler: Sampler,
    data: ImageData,
    numbers: range,
    *,
    seed: int,
    bar: "tqdm[Any] | None" = None,
) -> Pixels:
    """The images of these numbers under this seed, in 0..255, on the model's device; the bar moves by image and step.

    Raises Diverged where the model makes something else.
    """
    steps = walk(model, sampler, (data.channels, *data.size), len(numbers), seed=seed, first=numbers.start)
    x_0 = end_of(steps if bar is None else counted(steps, bar, len(numbers)))
    check_finite(x_0, numbers, seed)
    return data.pixels.to_bytes(x_0)


def check_finite(x_0: Images, numbers: Sequence[int], seed: int) -> None:
    """Raises Diverged where the images of these numbers are something else."""
    finite = x_0.isfinite().flatten(1).all(1)
    if not finite.all():
        raise Diverged(
            f"image {numbers[int((~finite).nonzero()[0])]} of seed {seed} has pixels that are no numbers: the weights "
            "diverged in training, or are damaged; take an earlier checkpoint"
        )


def counted(steps: Iterable[T], bar: "tqdm[Any]", by: int = 1) -> Iterator[T]:
    """The steps, each of which moves the bar; between two of them one can stop."""
    for step in steps:
        STOP.check()
        bar.update(by)
        yield step
