"""Every mode of Pillow: read as its definition says, or refused by name."""

import colorsys
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files.decoding import MODES, UNSUPPORTED_FORMATS, decode_image, formats, in_mode, suffixes

Colour = tuple[int, ...]


def hsv(h: int, s: int, v: int) -> Colour:
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(h / 255, s / 255, v / 255))


def ycbcr(y: int, cb: int, cr: int) -> Colour:
    """JPEG's own definition (JFIF)."""
    r, b = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    return tuple(min(255, max(0, round(part))) for part in (r, (y - 0.299 * r - 0.114 * b) / 0.587, b))


def lab_grey(lightness: int) -> Colour:
    """A neutral colour of CIE L*a*b* in sRGB (IEC 61966-2-1)."""
    f = (100 * lightness / 255 + 16) / 116
    y = f**3 if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29)
    return (round(255 * (1.055 * y ** (1 / 2.4) - 0.055)),) * 3


def over(colour: Colour, alpha: int, ground: Colour = (255, 255, 255)) -> Colour:
    return tuple(round((alpha * one + (255 - alpha) * other) / 255) for one, other in zip(colour, ground, strict=True))


PALETTE = [10, 20, 30, 200, 100, 50]
"""Colour 0 and colour 1."""

READ: list[tuple[str, Any, Colour]] = [
    ("1", 255, (255, 255, 255)),
    ("L", 77, (77, 77, 77)),
    ("LA", (77, 100), over((77, 77, 77), 100)),
    ("La", (50, 100), (50 + 155,) * 3),  # multiplied with its alpha already
    ("P", 1, (200, 100, 50)),
    ("PA", (1, 100), over((200, 100, 50), 100)),
    ("RGB", (1, 2, 3), (1, 2, 3)),
    ("RGBA", (200, 100, 50, 128), over((200, 100, 50), 128)),
    ("RGBa", (100, 50, 25, 128), (100 + 127, 50 + 127, 25 + 127)),
    ("RGBX", (1, 2, 3, 4), (1, 2, 3)),
    ("CMYK", (200, 100, 50, 60), tuple(round((255 - ink) * 195 / 255) for ink in (200, 100, 50))),
    ("YCbCr", (120, 90, 160), ycbcr(120, 90, 160)),
    ("HSV", (30, 200, 220), hsv(30, 200, 220)),
    ("LAB", (150, 128, 128), lab_grey(150)),
]


def test_every_mode_of_pillow_is_in_the_table_or_refused() -> None:
    assert {mode for mode, _, _ in READ} == set(MODES)
    assert set(Image.MODES) - set(MODES) == {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}


@pytest.mark.parametrize(("mode", "value", "colour"), READ, ids=[mode for mode, _, _ in READ])
def test_a_mode_is_read_as_it_is_defined(mode: str, value: Any, colour: Colour) -> None:
    image = Image.new(mode, (3, 2), value)
    if mode in ("P", "PA"):
        image.putpalette(PALETTE)
    seen = in_mode(image, lambda _: "RGB", "white")
    assert np.abs(np.array(seen).astype(int) - colour).max() <= 2
    grey = in_mode(image, lambda _: "L", "white")
    assert abs(np.array(grey).astype(int) - np.dot(colour, (0.299, 0.587, 0.114))).max() <= 2


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_an_opaque_image_stays_what_it_is_to_the_bit(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, len(mode)), np.uint8)
    pixels[..., -1] = 255
    image = Image.fromarray(pixels, mode)
    bare = "RGB" if mode == "RGBA" else "L"
    assert np.array_equal(np.array(in_mode(image, lambda _: bare, "#12ab00")), pixels[..., :-1].squeeze())


def png(pixels: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits a channel; kind: 2 for RGB, 4 for LA, 6 for RGBA."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_of_16_bits(pixels: np.ndarray) -> bytes:
    """An uncompressed little-endian TIFF, RGB of 16 bits a channel."""
    height, width = pixels.shape[:2]
    data, entries = pixels.astype("<u2").tobytes(), 8
    bits_at = 8 + 2 + 12 * entries + 4
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, bits_at + 6), (277, 3, 1, 3), (279, 4, 1, len(data))]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, entries) + directory + bytes(4) + struct.pack("<HHH", 16, 16, 16) + data


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def of_12_bits(channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (4, 5, channels)).astype(np.uint16)


SGI = struct.pack(">hBBHHHH", 474, 0, 2, 3, 4, 4, 3) + struct.pack(">ll", 0, 4095) + bytes(492 + 4 * 4 * 3 * 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(Image.new("F", (4, 4), 0.5), "TIFF"), "has floats as pixels"),
        (saved(Image.new("I", (4, 4), 70_000), "TIFF"), "16 or more bits"),
        (saved(Image.new("I;16", (4, 4), 300), "TIFF"), "16 or more bits"),
        (saved(Image.new("I;16B", (4, 4), 300), "TIFF"), "16 or more bits"),
        (saved(Image.new("I;16", (4, 4), 300), "PNG"), "16 or more bits"),
        (png(of_12_bits(3), 2), "16 or more bits"),
        (png(of_12_bits(2), 4), "16 or more bits"),
        (png(of_12_bits(4), 6), "16 or more bits"),
        (tiff_of_16_bits(of_12_bits(3)), "16 or more bits"),
        (SGI, "16 or more bits"),
        (b"P5 2 2 65535\n" + bytes(8), "16 or more bits"),
    ],
)
def test_what_has_more_than_8_bits_is_refused_by_name(content: bytes, words: str) -> None:
    with pytest.raises(UserError, match=rf"deep\.img has .*{words}|deep\.img {words}"):
        decode_image(io.BytesIO(content), "deep.img", lambda _: "RGB", "white")


def test_a_ppm_says_its_largest_value_and_is_scaled_by_it() -> None:
    content = b"P6 1 1 4095\n" + struct.pack(">HHH", 4095, 2048, 0)
    image = decode_image(io.BytesIO(content), "scaled.ppm", lambda _: "RGB")
    assert image.getpixel((0, 0)) == (255, 128, 0)


def test_a_16_bit_bitmap_has_5_bits_a_channel_and_is_read() -> None:
    header = b"BM" + struct.pack("<IHHI", 58, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 16, 0, 4, 0, 0, 0, 0)
    content = header + struct.pack("<HH", 31 << 10 | 16 << 5, 0)
    image = np.array(decode_image(io.BytesIO(content), "5.bmp", lambda _: "RGB")).astype(float)
    assert np.abs(image[0, 0] - (255, 16 / 31 * 255, 0)).max() < 1


def transparent_palette() -> bytes:
    image = Image.new("P", (4, 4), 0)
    image.putpalette(PALETTE)
    image.putpixel((0, 0), 1)
    return saved(image, "PNG", transparency=0)


@pytest.mark.parametrize(
    ("content", "hidden"),
    [
        (saved(Image.new("RGBA", (4, 4), (10, 20, 30, 0)), "PNG"), True),
        (saved(Image.new("RGBA", (4, 4), (10, 20, 30, 0)), "WEBP", lossless=True, exact=True), True),
        (saved(Image.new("LA", (4, 4), (10, 0)), "PNG"), True),
        (transparent_palette(), True),
        (saved(Image.new("RGB", (4, 4), (10, 20, 30)), "PNG", transparency=(10, 20, 30)), True),
        (saved(Image.new("L", (4, 4), 10), "PNG", transparency=10), True),
        (saved(Image.new("P", (4, 4), 1), "GIF", transparency=1), True),
        (saved(Image.new("RGB", (4, 4), (10, 20, 30)), "PNG"), False),
    ],
    ids=["RGBA", "WebP", "LA", "palette", "RGB key", "grey key", "GIF", "opaque"],
)
def test_the_background_is_seen_through_transparent_pixels(content: bytes, hidden: bool) -> None:
    for background, ground in (("white", (255, 255, 255)), ("#0040ff", (0, 64, 255))):
        image = decode_image(io.BytesIO(content), "x", lambda _: "RGB", background)
        assert image.getpixel((3, 3)) == (ground if hidden else (10, 20, 30))


COLOUR = "png jpg jpeg jpe jfif webp bmp dib tif tiff gif avif jp2 j2k ppm tga sgi qoi ico icns dds pcx"
WRITABLE = {**dict.fromkeys(COLOUR.split(), "RGB"), "pgm": "L", "pbm": "1", "xbm": "1", "msp": "1", "blp": "P"}
"""Suffixes of formats that Pillow writes, too, with a mode that each has."""


@pytest.mark.parametrize(("suffix", "mode"), WRITABLE.items())
def test_what_pillow_reads_is_found_and_read(suffix: str, mode: str, tmp_path: Path) -> None:
    assert f".{suffix}" in suffixes()
    Image.new(mode, (32, 32), 0).save(tmp_path / f"image.{suffix}")
    image = decode_image(tmp_path / f"image.{suffix}", "x", lambda _: "RGB", "black")
    assert np.array(image).max() <= 1  # a lossy format may be one off


def test_formats_that_would_run_another_program_are_not_read(tmp_path: Path) -> None:
    """An .eps is drawn by Ghostscript, whatever its name says."""
    Image.new("RGB", (4, 4)).save(tmp_path / "vector.eps")
    (tmp_path / "vector.eps").rename(tmp_path / "vector.png")
    with pytest.raises(UserError, match=r"vector\.png cannot be read as an image"):
        decode_image(tmp_path / "vector.png", str(tmp_path / "vector.png"), lambda _: "RGB")
    assert not UNSUPPORTED_FORMATS & set(formats())
    assert not {".eps", ".ps", ".wmf", ".mpg", ".h5"} & suffixes()
