"""Encoded images, wherever they lie, decoded and cut to one size as they are read."""

import hashlib
import io
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ddpm_lightning.data.base import ImageDataModule
from ddpm_lightning.data.batches import Batch, Plan
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.image_files import decode_image

MODES = {1: "L", 3: "RGB"}


@runtime_checkable
class ImageSource(Protocol):
    """Encoded images by their places: of a folder, a database, a set of shards. It may travel to other processes.

    name: what messages call an image. read: its bytes; raises UserError where they cannot be had.
    fingerprint: changes when the images do.
    """

    def __len__(self) -> int: ...

    def name(self, place: int) -> str: ...

    def read(self, place: int) -> bytes: ...

    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class EncodedImages(Dataset[Batch]):
    """A source, read and decoded a batch at a time: [channels, side, side] each."""

    source: ImageSource
    side: int
    channels: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, plan: Plan) -> Batch:
        images = [self.pixels(place) for place in plan.indices.tolist()]
        return Batch(torch.stack(images), plan.flip, plan.indices)

    def pixels(self, place: int) -> torch.Tensor:
        """One image: [channels, side, side]."""
        image = square(self.decode(place, self.source.read(place)), self.side)
        return torch.from_numpy(np.array(image)).reshape(self.side, self.side, -1).permute(2, 0, 1).contiguous()

    def decode(self, place: int, content: bytes) -> Image.Image:
        """The whole image that was read at this place, grey or in colour as is asked for."""
        return decode_image(io.BytesIO(content), self.source.name(place), lambda _: MODES[self.channels])

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self.source.fingerprint(), self.side, self.channels)).encode()).hexdigest()


def square(image: Image.Image, side: int) -> Image.Image:
    """The middle of the image, as wide as its shorter side, resized (Lanczos) to side × side: the preparation of the
    paper's LSUN (`create_lsun` in StyleGAN's dataset_tool.py)."""
    (w, h), crop = image.size, min(image.size)
    left, top = (w - crop) // 2, (h - crop) // 2
    return image.crop((left, top, left + crop, top + crop)).resize((side, side), Image.Resampling.LANCZOS)


class EncodedImagesDataModule(ImageDataModule):
    """root: where the images lie. side: their height and width; the middle is cut out and resized to it.

    channels: 3 for colour, 1 for grey.
    """

    def __init__(self, *, root: str, side: int = 256, channels: int = 3, **options: Any) -> None:
        super().__init__(**options)
        if channels not in MODES:
            raise UserError(f"data.channels={channels} is neither 3 (colour) nor 1 (grey); choose one of them")
        check_whole("data.side", side, 1, "an image has at least one pixel; the paper uses 256")
        check_at_most("data.side", side, 4096, "a batch of such images would fill the memory; the paper uses 256")
        self.root = Path(root)
        self.channels = channels
        self.size = (side, side)

    @property
    def side(self) -> int:
        """Height and width."""
        return self.size[0]

    def load(self, split: str) -> EncodedImages:
        return EncodedImages(self.source(split), self.side, self.channels)

    @abstractmethod
    def source(self, split: str) -> ImageSource:
        """The encoded images of the "train" or "test" split."""
