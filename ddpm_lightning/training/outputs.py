"""What sample.py writes; each format is a class. Images arrive as bytes, [n, c, h, w] in 0..255."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from ddpm_lightning.training.pictures import picture, save, single
from ddpm_lightning.typing import Pixels


class Output(ABC):
    """Writes generated images into a folder."""

    @abstractmethod
    def write(self, images: Pixels, folder: Path) -> Path:
        """Writes them and returns the path of what it wrote."""


class GridOutput(Output):
    """One PNG with all images side by side."""

    def write(self, images: Pixels, folder: Path) -> Path:
        save(picture(images), folder / "grid.png")
        return folder / "grid.png"


class PNGOutput(Output):
    """One PNG an image, numbered from 00000.png."""

    def write(self, images: Pixels, folder: Path) -> Path:
        for old in (folder / "images").glob("[0-9]*.png"):  # else fewer images than last time would be mixed with those
            old.unlink()
        for number, image in enumerate(images):
            save(single(image), folder / "images" / f"{number:05d}.png")
        return folder / "images"


class NPZOutput(Output):
    """One .npz whose array `images` is uint8 [n, h, w, c]."""

    def write(self, images: Pixels, folder: Path) -> Path:
        np.savez_compressed(folder / "samples.npz", images=images.permute(0, 2, 3, 1).cpu().numpy())
        return folder / "samples.npz"
