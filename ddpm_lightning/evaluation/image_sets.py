"""Where the images come from that are judged: a checkpoint, a folder or an .npz."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from lightning.fabric import Fabric
from tqdm import tqdm

from ddpm_lightning.configuration.build import ImageData
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.fabric import together
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
from ddpm_lightning.typing import Pixels

log = logging.getLogger(__name__)

AT_ONCE = 256
"""Images that are read together."""


@runtime_checkable
class ImageSet(Protocol):
    """A set of n images. suffix: what the name of a result adds for them. origin: what results.json says of them."""

    n: int
    suffix: str
    origin: dict[str, Any]

    def check(self) -> None:
        """Raises UserError where the images cannot be had."""

    def open(self) -> None:
        """Makes room for the images. For one process."""

    def prepare(self, fabric: Fabric) -> None:
        """Makes the images, on all processes, where they are not there yet."""

    def batches(self) -> Iterator[Pixels]:
        """All of them in order, in 0..255."""


@dataclass
class Generated:
    """The first n images of a seed, which are the same at any batch size and for any number of processes.

    how_to_resume: what a user who stops the command is told to do."""

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

    def check(self) -> None:
        self.shards.check(self.recipe)

    def open(self) -> None:
        self.shards.open(self.recipe)

    def prepare(self, fabric: Fabric) -> None:
        self.make(fabric, range(self.n))

    def make(self, fabric: Fabric, wanted: range) -> None:
        """Makes the images of these numbers, on all processes, where they are not there yet."""
        for _ in self.made(fabric, wanted):
            pass

    def as_they_come(self, fabric: Fabric) -> Iterator[Pixels]:
        """Yields all images in order, each batch as soon as it is on disk. For one process."""
        done = 0
        for numbers in self.made(fabric, range(self.n)):
            yield from self.shards.read(numbers.stop, done)
            done = numbers.stop
        yield from self.shards.read(self.n, done)

    def made(self, fabric: Fabric, wanted: range) -> Iterator[range]:
        """Makes the missing images of these numbers, on all processes. Yields the numbers of each shard of this process
        once it is on disk."""
        fabric.barrier()
        missing = self.shards.missing(wanted, self.batch_size)[fabric.global_rank :: fabric.world_size]
        fabric.barrier()  # before anyone writes, everyone has looked
        failure: UserError | Interrupted | None = None
        with self._bar(fabric, sum(len(numbers) for numbers in missing)) as bar, self._kept(wanted):
            try:
                for numbers in missing:
                    self.shards.write(numbers, self._make(fabric, numbers, bar))
                    yield numbers
            except (UserError, Interrupted) as error:
                failure = error
            together(fabric, failure)

    def _bar(self, fabric: Fabric, count: int) -> "tqdm[Any]":
        total = count * self.sampler.chain(self.model).process.T
        hidden = count == 0 or not fabric.is_global_zero
        return progress_bar(total=total, desc="Generating", unit="image step", unit_scale=True, disable=hidden)

    @contextmanager
    def _kept(self, wanted: range) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, Interrupted):
            left = sum(len(numbers) for numbers in self.shards.missing(wanted, self.batch_size))
            done, folder = len(wanted) - left, relative(self.shards.folder)
            log.info("Stopped with %d of %d images done", done, len(wanted))
            log.info("The images made so far are kept in %s; to resume, %s", folder, self.how_to_resume)
            raise

    def batches(self) -> Iterator[Pixels]:
        return self.shards.read(self.n)

    def _make(self, fabric: Fabric, numbers: range, bar: "tqdm[Any]") -> Pixels:
        with fabric.autocast():
            return make_images(self.model, self.sampler, self.data, numbers, seed=self.seed, bar=bar)


@dataclass
class Given:
    """Images that are there already: a folder of files, or an .npz of uint8 [n, h, w, c] as sample.py writes it.

    background: the colour under transparent pixels of files.
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

    def check(self) -> None:
        """They are there."""

    def open(self) -> None:
        """They are there."""

    def prepare(self, fabric: Fabric) -> None:
        """They are there."""

    def batches(self) -> Iterator[Pixels]:
        if self.pixels is not None:
            yield from torch.split(self.pixels, AT_ONCE)
        for first in range(0, len(self.paths), AT_ONCE):
            yield torch.stack([self._read(path) for path in self.paths[first : first + AT_ONCE]])

    def _find(self) -> tuple[Path, ...]:
        """The files of the folder, of which one line tells."""
        found = find_images(self.path, self.option)
        check_no_splits(self.path, found.paths, self.option)
        if is_first():
            what = f"{self.option}{self.path}: {len(found)} images"
            log.info("%s", describe_images(what, found, read_headers(found.paths), self.background))
        return found.paths

    def _read(self, path: Path) -> torch.Tensor:
        pixels = self._decode(path, grey=self.shape[0] == 1)
        if pixels.shape != self.shape:
            raise UserError(
                f"{path} is of {tuple(pixels.shape)} (channels, height, width) and {self.paths[0]} of "
                f"{tuple(self.shape)}; a set has images of one size, so convert them first"
            )
        return pixels

    def _decode(self, path: Path, grey: bool = True) -> torch.Tensor:
        """[1, h, w] of a grey image, where that is allowed, and else [3, h, w]."""
        image = open_image(path, lambda mode: "L" if grey and mode in GREY else "RGB", self.background)
        array = np.array(image)
        return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _npz(path: Path) -> Pixels:
    arrays = read_npz(path, ("images", "arr_0"), "give another images=")
    images = arrays.get("images", next(iter(arrays.values())))
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"`images` in {path} is {images.dtype} of {images.ndim} axes, not uint8 [n, h, w, c] in 0..255; round it "
            "first, for NaN and fractions are no pixels"
        )
    if images.size == 0:
        raise UserError(f"`images` in {path} is empty: {images.shape}; give another images=")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
