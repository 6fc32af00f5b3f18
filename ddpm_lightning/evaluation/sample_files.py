"""What sample.py writes; each format is a class. Images arrive as bytes, [n, c, h, w] in 0..255, batch by batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch

from ddpm_lightning.npz import write_stream
from ddpm_lightning.runtime.pictures import picture, save, single
from ddpm_lightning.typing import Pixels


class Output(ABC):
    """Writes generated images into a folder."""

    @abstractmethod
    def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        """Writes `count` images as they come and returns the path of what it wrote."""


class GridOutput(Output):
    """One PNG with all images side by side. It is in memory as a whole, for Pillow writes no other."""

    def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        save(picture(torch.cat(list(batches))), folder / "grid.png")
        return folder / "grid.png"


class PNGOutput(Output):
    """One PNG an image, numbered from 00000.png, each written as soon as its batch is made."""

    def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        first = next(batches)
        for old in (folder / "images").glob("[0-9]*.png"):  # else fewer images than last time would be mixed with those
            old.unlink()
        for number, image in enumerate(chain.from_iterable(chain([first], batches))):
            save(single(image), folder / "images" / f"{number:05d}.png")
        return folder / "images"


class NPZOutput(Output):
    """One .npz whose array `images` is uint8 [n, h, w, c]."""

    def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        first = next(batches)
        channels, height, width = first.shape[1:]
        parts = (batch.permute(0, 2, 3, 1).numpy() for batch in chain([first], batches))
        write_stream(folder / "samples.npz", "images", (count, height, width, channels), parts)
        return folder / "samples.npz"
