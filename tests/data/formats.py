"""Images in the formats in which data sets are distributed: folders, and LSUN's databases."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ddpm_lightning.data.batches import Plan
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.encoded import EncodedImages
from ddpm_lightning.data.image_folder import Files


def picture(number: int, size: tuple[int, int] = (40, 32), mode: str = "RGB") -> Image.Image:
    """Image number so-and-so: smooth as photographs are, and like no other."""
    coarse = np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(coarse).convert(mode).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "WEBP", **options: Any) -> bytes:
    """The content of a file of this image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_folder(folder: Path, n: int, suffix: str = "jpg", **options: Any) -> Path:
    """000.jpg, 001.jpg …"""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        picture(number, **options).save(folder / f"{number:03d}.{suffix}")
    return folder


def write_lsun(database: Path, contents: list[bytes]) -> dict[bytes, bytes]:
    """An LMDB as LSUN's: under the SHA-1 of each image, in hexadecimal, the image. Returns what is under which key."""
    import lmdb

    found = {hashlib.sha1(content).hexdigest().encode(): content for content in contents}
    database.mkdir(parents=True)
    with lmdb.open(str(database), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for key, content in found.items():
            transaction.put(key, content)
    return found


def read_file(path: Path, side: int, channels: int) -> torch.Tensor:
    """An image file as a DataModule has it: [channels, side, side]."""
    return EncodedImages(Files((path,)), side, channels).pixels(0)


def everything(data: ImageDataModule, split: str) -> torch.Tensor:
    """A whole split, in order."""
    images = data.load(split)
    return images[Plan(torch.arange(len(images)), torch.zeros(len(images), dtype=torch.bool))].images
