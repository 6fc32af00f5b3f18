"""Decodes image files of all formats and modes with 8 bits a channel, and fills transparent pixels."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from ddpm_lightning.errors import UserError, shown

MAX_PIXELS = 2**27
"""The most pixels of an image; a small file can claim more than the memory holds."""

MAX_BYTES = 2**29
"""The most bytes of an encoded image: four for each of MAX_PIXELS."""

UNSUPPORTED_FORMATS = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
"""Formats that Pillow opens but cannot decode alone: it needs Ghostscript, Windows or a handler of the user."""

GREY = ("1", "L", "LA", "La")
"""Pillow's modes of grey images."""

MODES = (*GREY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
"""Pillow's modes with at most 8 bits a channel, which are read; the others have 16 bits, 32 bits or floats."""

DEEP = re.compile(r"\b\w+;16[BLNS]|SGI16|BC6")
"""Matches Pillow's decoders of files with more than 8 bits a channel, which would drop the lower bits."""


@cache
def formats() -> tuple[str, ...]:
    """Returns the formats that are read, by Pillow's names."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in UNSUPPORTED_FORMATS)


@cache
def suffixes() -> frozenset[str]:
    """Returns the suffixes of files in these formats, such as ".png"."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


def read_bytes(path: Path) -> bytes:
    """Returns the content of an image file. Raises UserError, with the path, if it cannot be read or is too large."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than an image can be, 2^29 bytes; remove it")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend or remove it") from error


def open_image(path: Path, mode: Callable[[str], str], background: str | None = None) -> Image.Image:
    """Decodes an image file; see `decode_image`."""
    return decode_image(path, str(path), mode, background)


def decode_image(
    file: Path | io.BytesIO, name: str, mode: Callable[[str], str], background: str | None = None
) -> Image.Image:
    """Decodes an image, and rotates it as its EXIF data say.

    Args:
        file: a path, or the content of a file.
        name: what messages call the image.
        mode: returns the wanted Pillow mode for the image's own.
        background: the colour under transparent pixels; None drops their transparency.

    Raises:
        UserError: the image is damaged, too large, or has more than 8 bits a channel.
    """
    with opened(file, name) as image:
        return in_mode(ImageOps.exif_transpose(image), mode, background)


def in_mode(image: Image.Image, mode: Callable[[str], str], background: str | None = None) -> Image.Image:
    """Converts an image to the mode that `mode` returns for its own; see `decode_image`."""
    opaque = image if background is None else on_background(image, background)
    return _converted(opaque, mode(opaque.mode))


@contextmanager
def opened(file: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """Yields an image before its pixels are decoded. Raises UserError as `decode_image`, also from the block."""
    try:
        with Image.open(file, formats=formats()) as image:
            _check(image, name)
            yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{name} cannot be read as an image (its format is unknown); mend or remove it") from error
    except Exception as error:  # a damaged image can make Pillow raise nearly anything
        raise UserError(f"{name} cannot be read as an image ({shown(error)}); mend or remove it") from error


def _check(image: Image.Image, name: str) -> None:
    if image.mode == "F":
        raise UserError(f"{name} has floats as pixels (mode F), and the model 0..255; convert it to 8 bits first")
    if image.mode not in MODES or DEEP.search(str(getattr(image, "tile", ""))):
        raise UserError(f"{name} has 16 or more bits a pixel (mode {image.mode}), and the model 8; convert it first")
    if image.width * image.height > MAX_PIXELS:
        raise UserError(f"{name} claims {image.width}×{image.height} pixels, and at most 2^27 are opened")


def check_background(option: str, colour: object) -> None:
    """Raises UserError unless the colour is an opaque one that Pillow knows; option is its name in the message."""
    try:
        if len(ImageColor.getrgb(str(colour))) == 3:
            return
    except ValueError:
        pass
    raise UserError(f"{option}={colour} is not a colour; use white, black, or one as '#8040ff'")


def on_background(image: Image.Image, colour: str) -> Image.Image:
    """Returns an image with a colour under its transparent pixels.

    The result is grey if image and colour are, else RGB. An image without transparency is returned unchanged.
    """
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGBA", image.size, ImageColor.getrgb(colour))
    seen = Image.alpha_composite(ground, _converted(image, "RGBA")).convert("RGB")
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return seen.convert("L") if image.mode in GREY and red == green == blue else seen


VIA_MODE = {"La": "LA", "LAB": "RGB"}
"""Modes that Pillow can convert only via another one."""


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return (image.convert(VIA_MODE[image.mode]) if image.mode in VIA_MODE else image).convert(mode)
