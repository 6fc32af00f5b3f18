"""Sets of images to evaluate: generated from a checkpoint, or given as a folder or an .npz."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from tqdm import tqdm

from ddpm_lightning.configuration.build import ImageData
from ddpm_lightning.diffusion.conditional.guidance import Guidance, NoGuidance
from ddpm_lightning.diffusion.conditional.thresholding import Clipping, StaticClipping
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.restoration.task import NoTask, Task
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.fabric import raise_together
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.image_files.decoding import GREY, open_image
from ddpm_lightning.image_files.headers import describe_images, read_headers
from ddpm_lightning.image_files.search import find_images
from ddpm_lightning.image_files.splits import check_no_splits
from ddpm_lightning.npz import read_npz
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.processes import is_first
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.signals import Interrupted
from ddpm_lightning.training.generate import make_images
from ddpm_lightning.training.labelling import Labelling, NoLabels
from ddpm_lightning.typing import Pixels

log = logging.getLogger(__name__)

READ_AT_ONCE = 256
"""Image files that are read into one batch."""


class ImageSet(ABC):
    """A set of images that metrics are measured on.

    Callers call `check`, `open`, `prepare` and `batches`, in this order. Existing images need only `batches`.

    Attributes:
        n: number of images.
        suffix: the suffix of a result's name for these images.
        origin: the entries that each such result has in results.json about the images.

    Example:
        >>> class BlackImages(ImageSet):
        ...     n, suffix, origin = 10, "_black", {"images": "black"}
        ...
        ...     def batches(self) -> Iterator[Pixels]:
        ...         yield torch.zeros(self.n, 3, 32, 32, dtype=torch.uint8)
        >>> [len(batch) for batch in BlackImages().batches()]
        [10]
    """

    n: int
    suffix: str
    origin: dict[str, Any]

    def check(self) -> None:
        """Raises UserError if the images cannot be read or generated."""

    def open(self) -> None:
        """Creates the folder of the images. The first process calls it."""

    def prepare(self, fabric: Fabric) -> None:
        """Generates the images that do not exist yet. Every process calls it."""

    @abstractmethod
    def batches(self) -> Iterator[Pixels]:
        """Yields all images in order as pixels in 0..255, [b, c, h, w]."""


@dataclass
class Generated(ImageSet):
    """The first n images that a sampler generates from a model and a seed, stored in shards on disk.

    An image depends only on its number and the seed, so the set is the same at any batch size and for any number of
    processes. Each batch is stored as soon as it is generated, so that an interrupted command resumes.

    Args:
        model: the diffusion model.
        data: defines the shape of the images and their pixels.
        sampler: generates the images.
        shards: the folder of the images.
        recipe: everything that the images depend on; a folder holds images of one recipe.
        n: number of images.
        batch_size: images that a process generates at once.
        seed: seed of the images' noise.
        suffix: the suffix of a result's name for these images.
        origin: what such a result in results.json records about the images.
        how_to_resume: advice that is logged when the command is interrupted.
        labels: the class of each image.
        guidance: guides the model.
        clipping: how x̂_0 is clipped.
        task: what the images are drawn for.
    """

    model: DenoisingDiffusion
    data: ImageData
    sampler: Sampler
    shards: GeneratedShards
    recipe: dict[str, Any]
    n: int
    batch_size: int
    seed: int
    suffix: str
    origin: dict[str, Any] = field(default_factory=dict)
    how_to_resume: str = "give the same command again"
    labels: Labelling = field(default_factory=NoLabels)
    guidance: Guidance = field(default_factory=NoGuidance)
    clipping: Clipping = field(default_factory=StaticClipping)
    task: Task = field(default_factory=NoTask)

    @property
    def wanted(self) -> dict[str, str]:
        """The given options among labels=, guidance= and clipping=, each with its part of the names of results."""
        labels, guidance, clipping = self.labels.suffix, self.guidance.suffix, self.clipping.suffix
        suffixes = {"labels": labels, "guidance": guidance, "clipping": clipping}
        return {name: suffix for name, suffix in suffixes.items() if suffix}

    @property
    def wanted_suffix(self) -> str:
        """The part of the names of results about labels=, guidance= and clipping=."""
        return "".join(self.wanted.values())

    def model_of(self, numbers: Sequence[int]) -> DenoisingDiffusion:
        """Returns the model that generates the images of these numbers: given their classes, and guided."""
        return self.guidance.guide(self.model.with_clipping(self.clipping).given(self.labels.of(numbers)))

    def check(self) -> None:
        self.shards.check(self.recipe)

    def open(self) -> None:
        self.shards.open(self.recipe)

    def prepare(self, fabric: Fabric) -> None:
        self.make(fabric, range(self.n))

    def make(self, fabric: Fabric, wanted: range) -> None:
        """Generates the missing images of these numbers. Every process calls it."""
        for _ in self.make_shards(fabric, wanted):
            pass

    def as_generated(self, fabric: Fabric) -> Iterator[Pixels]:
        """Yields all images in order, each batch as soon as it is on disk. For a single process."""
        done = 0
        for numbers in self.make_shards(fabric, range(self.n)):
            yield from self.shards.read(numbers.stop, done)
            done = numbers.stop
        yield from self.shards.read(self.n, done)

    def make_shards(self, fabric: Fabric, wanted: range) -> Iterator[range]:
        """Generates the missing images of these numbers. Every process iterates over it.

        Yields:
            The numbers of each shard of this process, once it is on disk.

        Raises:
            Diverged: on all processes, if an image of one of them has pixels that are NaN or infinite.
            Interrupted: on all processes, if one of them was asked to stop.
        """
        fabric.barrier()
        missing = self.shards.missing(wanted, self.batch_size)[fabric.global_rank :: fabric.world_size]
        fabric.barrier()  # all processes list the missing images before one writes
        failure: UserError | Interrupted | None = None
        with self._bar(fabric, sum(len(numbers) for numbers in missing)) as bar, self._reporting_progress(wanted):
            try:
                for numbers in missing:
                    self.shards.write(numbers, self._make(fabric, numbers, bar))
                    yield numbers
            except (UserError, Interrupted) as error:
                failure = error
            raise_together(fabric, failure)

    def _bar(self, fabric: Fabric, count: int) -> "tqdm[Any]":
        total = count * self.task.num_steps(self.model, self.sampler)
        hidden = count == 0 or not fabric.is_global_zero
        return progress_bar(total=total, desc="Generating", unit="image step", unit_scale=True, disable=hidden)

    @contextmanager
    def _reporting_progress(self, wanted: range) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, Interrupted):
            left = sum(len(numbers) for numbers in self.shards.missing(wanted, self.batch_size))
            done, folder = len(wanted) - left, relative(self.shards.folder)
            log.info("Stopped with %d of %s done", done, counted(len(wanted), "image"))
            if done:
                log.info("The finished images are in %s; to resume, %s", folder, self.how_to_resume)
            raise

    def batches(self) -> Iterator[Pixels]:
        return self.shards.read(self.n)

    def _make(self, fabric: Fabric, numbers: range, bar: "tqdm[Any]") -> Pixels:
        model, task = self.model_of(numbers), self.task.of(numbers)
        with fabric.autocast():
            return make_images(model, self.sampler, self.data, numbers, seed=self.seed, bar=bar, task=task)


@dataclass
class Given(ImageSet):
    """Existing images: a folder of image files, or an .npz file as sample.py writes it.

    Args:
        path: a folder, or an .npz file whose array `images` is uint8, [n, h, w, c].
        option: the option that names the path, for error messages.
        suffix: the suffix of a result's name for these images.
        background: colour under transparent pixels of image files.

    Raises:
        UserError: if the path has no images, or an image cannot be read.
    """

    path: Path
    option: str = "images="
    suffix: str = "_images"
    background: str = "white"

    def __post_init__(self) -> None:
        self.origin: dict[str, Any] = {"images": str(self.path)}
        self.pixels = _npz(self.path) if self.path.suffix == ".npz" else None
        self.paths = self._find() if self.pixels is None else ()
        self.n = len(self.paths if self.pixels is None else self.pixels)
        self.shape = self._decode(self.paths[0]).shape if self.pixels is None else self.pixels.shape[1:]

    def batches(self) -> Iterator[Pixels]:
        if self.pixels is not None:
            yield from torch.split(self.pixels, READ_AT_ONCE)
        for first in range(0, len(self.paths), READ_AT_ONCE):
            yield torch.stack([self._read(path) for path in self.paths[first : first + READ_AT_ONCE]])

    def _find(self) -> tuple[Path, ...]:
        """Returns the image files of the folder, and logs one line about them."""
        found = find_images(self.path, self.option)
        check_no_splits(self.path, found.paths, self.option)
        if is_first():
            what = f"{self.option}{self.path}: {counted(len(found), 'image')}"
            log.info("%s", describe_images(what, found, read_headers(found.paths), self.background))
        return found.paths

    def _read(self, path: Path) -> torch.Tensor:
        pixels = self._decode(path, grey=self.shape[0] == 1)
        if pixels.shape != self.shape:
            raise UserError(
                f"{path} has shape {tuple(pixels.shape)} (channels, height, width) but {self.paths[0]} has "
                f"{tuple(self.shape)}; all images must have one shape, so convert them first"
            )
        return pixels

    def _decode(self, path: Path, grey: bool = True) -> torch.Tensor:
        """Returns the pixels, [1, h, w] for a grey image if `grey` allows it, and [3, h, w] otherwise."""
        image = open_image(path, lambda mode: "L" if grey and mode in GREY else "RGB", self.background)
        array = np.array(image)
        return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _npz(path: Path) -> Pixels:
    arrays = read_npz(path, ("images", "arr_0"), "give another images=")
    images = arrays.get("images", next(iter(arrays.values())))
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"`images` in {path} is {images.dtype} with {images.ndim} axes, not uint8 [n, h, w, c] in 0..255; "
            "round the values first"
        )
    if images.size == 0:
        raise UserError(f"`images` in {path} is empty: {images.shape}; give another images=")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
