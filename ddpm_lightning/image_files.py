"""Encoded images: finding them in folders, and decoding one."""

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from ddpm_lightning.errors import UserError, shown

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def find_images(folder: Path, option: str) -> list[Path]:
    """All images below the folder, in order of path. Raises UserError, naming the option, where there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder.resolve()} is no folder; name the folder of images with {option}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UserError(
            f"{folder.resolve()} holds no images ({', '.join(sorted(SUFFIXES))}); name another folder with {option}"
        )
    return paths


LARGEST = 2**27
"""Pixels of the largest image that is opened: a small file can claim more than the memory holds."""


MOST_BYTES = 2**29
"""Of an encoded image: more than four bytes for each of those pixels is no image."""


def read_bytes(path: Path) -> bytes:
    """The content of an image file. Raises UserError, naming the file, where it cannot be had."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than an image can be, 2^29 bytes; remove it")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend or remove it") from error


def open_image(path: Path, mode: Callable[[str], str]) -> Image.Image:
    """The image in a file; see decode_image."""
    return decode_image(path, str(path), mode)


def decode_image(file: Path | io.BytesIO, name: str, mode: Callable[[str], str]) -> Image.Image:
    """The image, turned as its camera was held, in the mode that is wanted for its own. Raises UserError, naming the
    image, where it is none of 8 bits, or too large."""
    try:
        with Image.open(file) as image:
            if image.mode.startswith("I"):
                raise UserError(f"{name} has 16 or more bits a pixel, the model 8; convert it first")
            if image.width * image.height > LARGEST:
                raise UserError(f"{name} claims {image.width}×{image.height} pixels, and at most 2^27 are opened")
            upright = ImageOps.exif_transpose(image)
            return upright.convert(mode(upright.mode))
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{name} cannot be read as an image (it begins as none does); mend or remove it") from error
    except Exception as error:  # a damaged image can make Pillow raise nearly anything
        raise UserError(f"{name} cannot be read as an image ({shown(error)}); mend or remove it") from error
