"""Images as a person looks at them: grids for PNG files."""

import math
from pathlib import Path

import torch
from PIL import Image
from torchvision.utils import make_grid

from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Pixels

LEGIBLE = 48
"""Smaller images are enlarged, pixel by pixel, to about this many pixels a side."""


def check_drawable(channels: int, advice: str) -> None:
    """Raises UserError where images of so many channels are no pictures."""
    if channels not in (1, 3, 4):
        raise UserError(f"images of {channels} channels cannot be drawn, which takes 1, 3, or 4 with alpha; {advice}")


def picture(images: Pixels, columns: int | None = None) -> Image.Image:
    """The images, [n, 1, 3 or 4, h, w] in 0..255, as one grid; as square as may be if no columns are given."""
    factor = max(1, LEGIBLE // max(images.shape[2:]))
    large = images.cpu().repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    grid = make_grid(large, nrow=columns or math.ceil(math.sqrt(len(images))), pad_value=128)
    return Image.fromarray(grid.permute(1, 2, 0).numpy())


def single(image: torch.Tensor) -> Image.Image:
    """One image, [1, 3 or 4, h, w] in 0..255, pixel for pixel."""
    pixels = image.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def save(image: Image.Image, path: Path) -> None:
    """Writes a PNG, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
