"""Decoding an image: which formats and modes are read, and what becomes of transparent pixels."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from ddpm_lightning.errors import UserError, shown

LARGEST = 2**27
"""Pixels of the largest image that is opened: a small file can claim more than the memory holds."""

MOST_BYTES = 2**29
"""Of an encoded image: more than four bytes for each of those pixels is no image."""

NOT_READ = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
"""Formats that Pillow opens, but draws by Ghostscript, on Windows, with a handler of the user's, or not at all."""

GREY = ("1", "L", "LA", "La")
"""Pillow's modes of grey images."""

MODES = (*GREY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
"""Pillow's modes that are read: 8 bits a channel or fewer. The others have 16 bits, 32 bits or fractions."""

DEEP = re.compile(r"\b\w+;16[BLNS]|SGI16|BC6")
"""How Pillow names the decoding of a file whose channels have more than 8 bits; it keeps the upper 8."""


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read, by Pillow's names."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in NOT_READ)


@cache
def suffixes() -> frozenset[str]:
    """The endings of files in these formats, as ".png"."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats())


def read_bytes(path: Path) -> bytes:
    """The content of an image file. Raises UserError, naming the file, where it cannot be had."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is larger than an image can be, 2^29 bytes; remove it")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend or remove it") from error


def open_image(path: Path, mode: Callable[[str], str], background: str | None = None) -> Image.Image:
    """The image in a file; see decode_image."""
    return decode_image(path, str(path), mode, background)


def decode_image(
    file: Path | io.BytesIO, name: str, mode: Callable[[str], str], background: str | None = None
) -> Image.Image:
    """The image, turned as its camera was held, in the mode that is wanted for its own.

    background: the colour that is put under transparent pixels; None drops their transparency. Raises UserError,
    naming the image, where it is damaged, too large or of more than 8 bits a channel.
    """
    with opened(file, name) as image:
        return in_mode(ImageOps.exif_transpose(image), mode, background)


def in_mode(image: Image.Image, mode: Callable[[str], str], background: str | None = None) -> Image.Image:
    """The image in the mode that is wanted for its own. background: see decode_image."""
    opaque = image if background is None else on_background(image, background)
    return _converted(opaque, mode(opaque.mode))


@contextmanager
def opened(file: Path | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """The image before its pixels are read. Raises UserError as decode_image does, also from inside."""
    try:
        with Image.open(file, formats=formats()) as image:
            _check(image, name)
            yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{name} cannot be read as an image (it begins as none does); mend or remove it") from error
    except Exception as error:  # a damaged image can make Pillow raise nearly anything
        raise UserError(f"{name} cannot be read as an image ({shown(error)}); mend or remove it") from error


def _check(image: Image.Image, name: str) -> None:
    if image.mode == "F":
        raise UserError(f"{name} has fractions for pixels (mode F), the model 0..255; convert it to 8 bits first")
    if image.mode not in MODES or DEEP.search(str(getattr(image, "tile", ""))):
        raise UserError(f"{name} has 16 or more bits a pixel (mode {image.mode}), the model 8; convert it first")
    if image.width * image.height > LARGEST:
        raise UserError(f"{name} claims {image.width}×{image.height} pixels, and at most 2^27 are opened")


def check_background(option: str, colour: object) -> None:
    """Raises UserError unless this is an opaque colour."""
    try:
        if len(ImageColor.getrgb(str(colour))) == 3:
            return
    except ValueError:
        pass
    raise UserError(f"{option}={colour} is no colour; use white, black, or one as '#8040ff'")


def on_background(image: Image.Image, colour: str) -> Image.Image:
    """The image with this colour under its transparent pixels: grey where both are, and else RGB. An image without
    transparency is returned as it is."""
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGBA", image.size, ImageColor.getrgb(colour))
    seen = Image.alpha_composite(ground, _converted(image, "RGBA")).convert("RGB")
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return seen.convert("L") if image.mode in GREY and red == green == blue else seen


THROUGH = {"La": "LA", "LAB": "RGB"}
"""Modes that Pillow converts to most others only by way of a second one."""


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return (image.convert(THROUGH[image.mode]) if image.mode in THROUGH else image).convert(mode)
