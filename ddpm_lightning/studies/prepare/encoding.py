"""In which form an image is kept."""

import io

from PIL import Image

from ddpm_lightning.data.encoded import EncodedImages, crop_and_resize, crop_size

KEPT = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


def encode(images: EncodedImages, place: int, content: bytes) -> tuple[str, bytes]:
    """Suffix and content of the image whose content was read at this place; it decodes to the same pixels.

    Where it needs no resizing and nothing is transparent, it is kept as it came: LSUN's are, and lossless
    they would be seven times as large. Else it is cut and resized once, and kept as WebP without loss: smaller than
    PNG, and sooner decoded.
    Raises UserError where it is broken.
    """
    whole = images.decode(place, content)
    came = Image.open(io.BytesIO(content))
    if crop_size(whole, images.size) == images.size[::-1] and came.format in KEPT and not came.has_transparency_data:
        return KEPT[came.format], content
    file = io.BytesIO()
    crop_and_resize(whole, images.size).save(file, "WEBP", lossless=True, quality=0, method=0)
    return "webp", file.getvalue()
