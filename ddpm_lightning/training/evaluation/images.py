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

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler, end_of
from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files import find_images, open_image
from ddpm_lightning.training.build import ImageData
from ddpm_lightning.training.evaluation.shards import Shards
from ddpm_lightning.training.generate import counted, walk
from ddpm_lightning.training.manners import relative
from ddpm_lightning.typing import Pixels

log = logging.getLogger(__name__)

AT_ONCE = 256
"""Images that are read together."""


@runtime_checkable
class ImageSource(Protocol):
    """A set of n images. suffix: what the name of a result adds for them. origin: what results.json says of them."""

    n: int
    suffix: str
    origin: dict[str, Any]

    def prepare(self, fabric: Fabric) -> None:
        """Makes the images, on all processes, where they are not there yet."""

    def batches(self) -> Iterator[Pixels]:
        """All of them in order, in 0..255."""


@dataclass
class Generated:
    """The first n images of a seed, which are the same at any batch size and for any number of processes."""

    model: DenoisingDiffusion
    data: ImageData
    sampler: Sampler
    shards: Shards
    recipe: dict[str, Any]
    n: int
    batch_size: int
    seed: int
    suffix: str
    origin: dict[str, Any] = field(default_factory=dict)

    def prepare(self, fabric: Fabric) -> None:
        if fabric.is_global_zero:
            self.shards.open(self.recipe)
        fabric.barrier()
        missing = self.shards.missing(self.n, self.batch_size)[fabric.global_rank :: fabric.world_size]
        fabric.barrier()  # before anyone writes, everyone has looked
        with self._bar(fabric, sum(len(numbers) for numbers in missing)) as bar, self._kept():
            for numbers in missing:
                self.shards.write(numbers, self._make(fabric, numbers, bar))
        fabric.barrier()

    def _bar(self, fabric: Fabric, count: int) -> "tqdm[Any]":
        total = count * self.sampler.chain(self.model).process.T
        hidden = count == 0 or not fabric.is_global_zero
        return tqdm(total=total, desc="Generating", unit="image step", unit_scale=True, disable=hidden)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            log.info("The images made so far are kept in %s; the same command goes on", relative(self.shards.folder))
            raise

    def batches(self) -> Iterator[Pixels]:
        return self.shards.read(self.n)

    def _make(self, fabric: Fabric, numbers: range, bar: "tqdm[Any]") -> Pixels:
        shape = (self.data.channels, *self.data.size)
        steps = walk(self.model, self.sampler, shape, len(numbers), seed=self.seed, first=numbers.start)
        with fabric.autocast():
            x_0 = end_of(counted(steps, bar, len(numbers)))
        finite = x_0.isfinite().flatten(1).all(1)
        if not finite.all():
            first = numbers[int((~finite).nonzero()[0])]
            raise UserError(
                f"image {first} of seed {self.seed} has pixels that are no numbers: the weights diverged in training, "
                "or are damaged; take an earlier checkpoint"
            )
        return self.data.pixels.to_bytes(x_0)


@dataclass
class Given:
    """Images that are there already: a folder of files, or an .npz of uint8 [n, h, w, c] as sample.py writes it."""

    path: Path
    option: str = "images="
    suffix: str = ""

    def __post_init__(self) -> None:
        self.origin: dict[str, Any] = {"images": str(self.path)}
        self.pixels = _npz(self.path) if self.path.suffix == ".npz" else None
        self.paths = find_images(self.path, self.option) if self.pixels is None else []
        self.n = len(self.paths if self.pixels is None else self.pixels)
        self.shape = _pixels(self.paths[0]).shape if self.pixels is None else self.pixels.shape[1:]

    def prepare(self, fabric: Fabric) -> None:
        """They are there."""

    def batches(self) -> Iterator[Pixels]:
        if self.pixels is not None:
            yield from torch.split(self.pixels, AT_ONCE)
        for first in range(0, len(self.paths), AT_ONCE):
            yield torch.stack([self._read(path) for path in self.paths[first : first + AT_ONCE]])

    def _read(self, path: Path) -> torch.Tensor:
        pixels = _pixels(path)
        if pixels.shape != self.shape:
            raise UserError(
                f"{path} is of {tuple(pixels.shape)} (channels, height, width) and {self.paths[0]} of "
                f"{tuple(self.shape)}; a set has images of one size, so convert them first"
            )
        return pixels


def _pixels(path: Path) -> torch.Tensor:
    image = open_image(path)
    array = np.array(image.convert("L" if image.mode in ("L", "1") else "RGB"))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _npz(path: Path) -> Pixels:
    try:
        with np.load(path) as file:
            images = file["images"] if "images" in file else file["arr_0"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an .npz with `images` ({error}); give another file") from error
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"`images` in {path} is {images.dtype} of {images.ndim} axes, not uint8 [n, h, w, c] in 0..255; round it "
            "first, for NaN and fractions are no pixels"
        )
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
