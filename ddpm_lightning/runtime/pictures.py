"""Turns images into pictures to look at, and writes them as PNG files."""

import math
from pathlib import Path

import torch
from PIL import Image
from torchvision.utils import make_grid

from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.typing import Pixels, SomePixels

LEGIBLE = 48
"""Images with a shorter side are enlarged to about this many pixels, without smoothing."""


PADDING = 128
"""The grey between images."""


def check_drawable(channels: int, advice: str) -> None:
    """Raises UserError unless images with this number of channels can be drawn."""
    if channels not in (1, 3, 4):
        raise UserError(
            f"images of {counted(channels, 'channel')} cannot be drawn, which takes 1, 3, or 4 with alpha; {advice}"
        )


def picture(images: SomePixels, columns: int | None = None, rows: int | None = None) -> Image.Image:
    """Returns the images in one grid.

    Args:
        images: uint8 [n, c, h, w] with 1, 3 or 4 channels.
        columns: The number of columns; by default the grid is as square as possible.
        rows: The number of rows of a grid that the images fill column by column. None fills the grid row by row, as
            does a number larger than that of the images.
    """
    if rows is not None and rows <= len(images):
        images = _in_rows(images, rows)
        columns = len(images) // rows
    factor = max(1, LEGIBLE // max(images.shape[2:]))
    large = images.cpu().repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    grid = make_grid(large, nrow=columns or math.ceil(math.sqrt(len(images))), pad_value=PADDING)
    return Image.fromarray(grid.permute(1, 2, 0).numpy())


def _in_rows(images: Pixels, rows: int) -> SomePixels:
    """Returns images, given column by column, in the order row by row. Grey images fill up the last column."""
    missing = images.new_full((-len(images) % rows, *images.shape[1:]), PADDING)
    whole = torch.cat([images, missing])
    return torch.cat([whole[row::rows] for row in range(rows)])


def single(image: torch.Tensor) -> Image.Image:
    """Returns one image, uint8 [1, 3 or 4, h, w], at its own size."""
    pixels = image.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def save(image: Image.Image, path: Path) -> None:
    """Writes a picture as a PNG file, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
