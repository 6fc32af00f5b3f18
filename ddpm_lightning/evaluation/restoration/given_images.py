"""Reads the images that a task is given: an image file, a folder of them, or an .npz file."""

from pathlib import Path

import numpy as np
import torch

from ddpm_lightning.configuration.build import ImageData
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.image_sets import Given
from ddpm_lightning.image_files.decoding import open_image
from ddpm_lightning.typing import Images, Pixels, SomeImages

WHITE_FROM = 128
"""The least grey value of a mask that counts as white."""


def read_images(path: str, option: str, data: ImageData) -> Images:
    """Returns the images of a path for the model of the data, rounded to its levels, in [−1, 1]: [n, c, h, w].

    Args:
        path: an image file, a folder of them, or an .npz file.
        option: the option that names the path, for messages.
        data: gives channels, size and levels.

    Raises:
        UserError: an image cannot be read, or has another shape.
    """
    pixels = read_pixels(path, option, (data.channels, *data.size))
    return PixelRange(data.pixels.levels).from_bytes(pixels)


def read_known(path: str, option: str, data: ImageData, of: SomeImages) -> Images:
    """Returns the known part of images: 1 where a mask is black and 0 where it is white, [n or 1, c, h, w].

    Args:
        path: a mask, or as many of them as images: see `read_images`.
        option: the option that names the path, for messages.
        data: gives channels and size.
        of: the n images, [n, c, h, w].

    Raises:
        UserError: a mask cannot be read, has another shape, hides nothing, or their number does not fit.
    """
    hidden = read_pixels(path, option, (1, *data.size)) >= WHITE_FROM
    if len(hidden) not in (1, len(of)):
        raise UserError(
            f"{option}{path} holds {counted(len(hidden), 'mask')} for {counted(len(of), 'image')}; give one mask for "
            "all, or one for each"
        )
    if not hidden.flatten(1).any(1).all():
        raise UserError(f"{option}{path} hides nothing: white is what is filled in; paint that part white")
    return (~hidden).float().expand(-1, data.channels, -1, -1)


def read_pixels(path: str, option: str, shape: tuple[int, int, int]) -> Pixels:
    """Returns the images of a path in 0..255: [n, c, h, w]. Raises UserError unless they have this shape, (c, h, w)."""
    file, grey = Path(path), shape[0] == 1
    if file.is_file() and file.suffix != ".npz":
        pixels = _decoded(file, grey)
    else:
        if not file.exists():
            raise UserError(f"there is no {file.resolve()}; name an image, a folder of images or an .npz with {option}")
        pixels = torch.cat(list(Given(file, option).batches()))
    if not grey and pixels.shape[1] == 1:
        pixels = pixels.expand(-1, shape[0], -1, -1)
    if tuple(pixels.shape[1:]) != shape:
        raise UserError(
            f"{option}{path} has images of {tuple(pixels.shape[1:])} (channels, height, width), and {shape} is needed; "
            "resize or convert them"
        )
    return pixels


def _decoded(path: Path, grey: bool) -> Pixels:
    """Returns the pixels of one image file, grey or RGB: [1, c, h, w]."""
    array = np.array(open_image(path, lambda _: "L" if grey else "RGB", "white"))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)[None].contiguous()
