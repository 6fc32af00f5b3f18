"""Encodes images for shards."""

import io

from PIL import Image

from ddpm_lightning.data.encoded import EncodedImages, crop_and_resize, crop_size

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
"""Formats that a shard holds, with the suffixes of their files."""


def encode(images: EncodedImages, place: int, content: bytes) -> tuple[str, bytes]:
    """Returns suffix and content of an image for a shard. They decode to the same pixels as the original.

    An image that needs no resizing and has no transparency is kept as it is. LSUN's images are, and would be seven
    times as large without loss. Any other is cropped, resized and stored as lossless WebP, which is smaller than PNG
    and faster to decode.

    Args:
        images: The images, with their size and how they are decoded.
        place: The place of the image in its split.
        content: The contents of its file.

    Raises:
        UserError: The image is broken.
    """
    whole = images.decode(place, content)
    original = Image.open(io.BytesIO(content))
    has_size = crop_size(whole, images.size) == images.size[::-1]
    if has_size and original.format in SUFFIXES and not original.has_transparency_data:
        return SUFFIXES[original.format], content
    file = io.BytesIO()
    crop_and_resize(whole, images.size).save(file, "WEBP", lossless=True, quality=0, method=0)
    return "webp", file.getvalue()
