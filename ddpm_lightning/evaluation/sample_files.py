"""Output formats of sample.py: each class writes batches of images to one kind of file."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch

from ddpm_lightning.npz import write_stream
from ddpm_lightning.runtime.pictures import picture, save, single
from ddpm_lightning.training.labelling import Labelling
from ddpm_lightning.typing import Pixels

FILES = ("grid.png", "images", "samples.npz")
"""The files and folders that the classes below write."""


class Output(ABC):
    """Base class of the output formats of sample.py.

    Example:
        >>> class RawOutput(Output):
        ...     def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        ...         (folder / "images.bin").write_bytes(b"".join(batch.numpy().tobytes() for batch in batches))
        ...         return folder / "images.bin"
    """

    @abstractmethod
    def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        """Writes images and returns the path of the file or folder.

        Args:
            batches: yields the images as pixels in 0..255, [b, c, h, w], while they are generated.
            count: number of images in all batches.
            folder: the folder to write to.
        """

    def of_classes(self, labels: Labelling) -> "Output":
        """Returns the output for images of these classes. By default, it writes them as it writes others."""
        return self


class GridOutput(Output):
    """Writes one PNG, grid.png, with all images side by side. All images are in memory at once, as Pillow needs.

    Images of classes in turn get a row for each class.
    """

    rows: int | None = None

    def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        save(picture(torch.cat(list(batches)), rows=self.rows), folder / "grid.png")
        return folder / "grid.png"

    def of_classes(self, labels: Labelling) -> Output:
        self.rows = labels.period
        return self


class PNGOutput(Output):
    """Writes one PNG per image, images/00000.png and so on, as soon as its batch is generated."""

    def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        first = next(batches)
        for old in (folder / "images").glob("[0-9]*.png"):  # of an earlier command, which may have had more images
            old.unlink()
        for number, image in enumerate(chain.from_iterable(chain([first], batches))):
            save(single(image), folder / "images" / f"{number:05d}.png")
        return folder / "images"


class NPZOutput(Output):
    """Writes samples.npz, whose array `images` is uint8, [n, h, w, c]."""

    def write(self, batches: Iterator[Pixels], count: int, folder: Path) -> Path:
        first = next(batches)
        channels, height, width = first.shape[1:]
        parts = (batch.permute(0, 2, 3, 1).numpy() for batch in chain([first], batches))
        write_stream(folder / "samples.npz", "images", (count, height, width, channels), parts)
        return folder / "samples.npz"
