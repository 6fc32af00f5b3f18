"""Data sets of encoded images (JPEG, PNG, …), which are decoded, cropped and resized as they are read."""

import hashlib
import io
import logging
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from PIL import Image
from torch.utils.data import Dataset

from ddpm_lightning.data.batches import Batch, Plan
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.image_files.decoding import decode_image

log = logging.getLogger(__name__)

Side = int | tuple[int, int]
"""The size of images: one number if they are square, else (height, width)."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode for each number of channels."""


@runtime_checkable
class ImageSource(Protocol):
    """A numbered set of encoded images, such as a folder, a database or shards. It can be pickled.

    Example:
        >>> class OneImage:
        ...     def __init__(self, content):
        ...         self.content = content
        ...
        ...     def __len__(self):
        ...         return 1
        ...
        ...     def name(self, place):
        ...         return "the image"
        ...
        ...     def read(self, place):
        ...         return self.content
        ...
        ...     def fingerprint(self):
        ...         return hashlib.sha256(self.content).hexdigest()
        ...
        ...     identity = fingerprint
        >>> isinstance(OneImage(b""), ImageSource)
        True
    """

    def __len__(self) -> int:
        """Returns the number of images."""
        ...

    def name(self, place: int) -> str:
        """Returns what messages call an image."""
        ...

    def read(self, place: int) -> bytes:
        """Returns the content of an image's file. Raises UserError if it cannot be read."""
        ...

    def fingerprint(self) -> str:
        """Returns a text that changes when the images do."""
        ...

    def identity(self) -> str:
        """Returns a text that changes when the images do, and is the same for a copy of them elsewhere."""
        ...


@dataclass(frozen=True)
class EncodedImages(Dataset[Batch]):
    """A data set that reads, decodes, crops and resizes encoded images.

    Args:
        source: the encoded images.
        side: the size to crop and resize to: one number for a square, or (height, width).
        channels: 1 (grey), 3 (colour) or 4 (colour and alpha).
        background: the colour under transparent pixels; None drops their transparency.
    """

    source: ImageSource
    side: Side
    channels: int
    background: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of each image."""
        return size_of(self.side)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, plan: Plan) -> Batch:
        images = [self.pixels(place) for place in plan.indices.tolist()]
        return Batch(torch.stack(images), plan.flip, plan.indices)

    def pixels(self, place: int) -> torch.Tensor:
        """Returns one image: [channels, height, width], uint8."""
        image = np.array(crop_and_resize(self.decode(place, self.source.read(place)), self.size))
        if self.channels == 4:
            image[image[:, :, 3] == 0] = 0  # The colours of fully transparent pixels are arbitrary.
        return torch.from_numpy(image).reshape(*self.size, -1).permute(2, 0, 1).contiguous()

    def decode(self, place: int, content: bytes) -> Image.Image:
        """Decodes the whole image that was read at a place, in the mode for `channels`."""
        name, mode = self.source.name(place), MODES[self.channels]
        return decode_image(io.BytesIO(content), name, lambda _: mode, self.background if self.channels < 4 else None)

    def fingerprint(self) -> str:
        shown = (self.side, self.channels) if self.background is None else (self.side, self.channels, self.background)
        return hashlib.sha256(repr((self.source.fingerprint(), *shown)).encode()).hexdigest()


def crop_and_resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Crops the middle of an image to a shape, as large as possible, and resizes it by Lanczos.

    For a square, this is how the paper's LSUN was prepared (`create_lsun` in StyleGAN's dataset_tool.py).

    Args:
        image: the whole image.
        size: height and width of the result.
    """
    (height, width), (crop_width, crop_height) = size, crop_size(image, size)
    left, top = (image.width - crop_width) // 2, (image.height - crop_height) // 2
    middle = image.crop((left, top, left + crop_width, top + crop_height))
    return middle.resize((width, height), Image.Resampling.LANCZOS)


def crop_size(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Returns the width and height of the largest crop of an image with the aspect ratio of size, (height, width)."""
    height, width = size
    if image.width * height >= image.height * width:
        return max(1, image.height * width // height), image.height
    return image.width, max(1, image.width * height // width)


def size_of(side: Side) -> tuple[int, int]:
    """Returns height and width."""
    return (side, side) if isinstance(side, int) else side


def side_option(side: Side) -> str:
    """Returns the side as on the command line: 256, or [48,64]."""
    return str(side) if isinstance(side, int) else f"[{side[0]},{side[1]}]"


class EncodedImagesDataModule(ImageDataModule):
    """A data set of encoded images, which are cropped and resized to one size as they are read.

    Args:
        root: the folder of the data.
        side: the size to crop and resize to: one number for a square, or [height, width]; each in 1..4096.
        channels: 3 (colour), 1 (grey) or 4 (colour and alpha, black where fully transparent).
        **options: see `ImageDataModule`.

    Attributes:
        background: the colour under transparent pixels; None drops their transparency.

    Raises:
        UserError: an argument is out of its range.

    Example:
        >>> class OneFolder(EncodedImagesDataModule):
        ...     def source(self, split):
        ...         from ddpm_lightning.data.image_folder import Files
        ...
        ...         return Files(tuple(sorted((self.root / split).glob("*.png"))), self.root)
    """

    background: str | None = None

    def __init__(self, *, root: str, side: int | list[int] = 256, channels: int = 3, **options: Any) -> None:
        super().__init__(**options)
        if channels not in MODES:
            raise UserError(f"data.channels={channels} is none of 3 (colour), 4 (with alpha) and 1 (grey); choose one")
        sides: list[Any] = side if isinstance(side, list) and len(side) == 2 else [side]
        for length in sides:
            check_whole("data.side", length, 1, "it is a side in pixels, or [height,width]; the paper uses 256", 4096)
        self.root = Path(root)
        self.channels = channels
        self.size = (sides[0], sides[-1])

    @property
    def side(self) -> Side:
        """The size of the images: one number if they are square, else (height, width)."""
        return self.size[0] if self.size[0] == self.size[1] else self.size

    def load(self, split: str) -> EncodedImages:
        return EncodedImages(self.source(split), self.side, self.channels, self.background)

    def setup(self, stage: str) -> None:
        """Loads what the stage needs. Before training it checks the images, and logs a summary of them."""
        is_new = stage == "fit" and not self.loaded
        if is_new:
            self.check()
        super().setup(stage)
        if is_new:
            self._log_summary()

    @rank_zero_only
    def _log_summary(self) -> None:
        log.info("%s", self.summary())

    def check(self) -> None:
        """Raises UserError, before training, if an image cannot be read. By default, does nothing."""

    def summary(self) -> str:
        """Returns one line that describes the images of both splits."""
        counts = " and ".join(f"{len(self.images(split))} {split}" for split in ("train", "test"))
        return f"data.root={self.root}: {counts} images"

    @cached_property
    def identity(self) -> str:
        """A text that identifies the training images, wherever they lie."""
        images = self.images("train")
        assert isinstance(images, EncodedImages)
        return images.source.identity()

    def state_dict(self) -> dict[str, Any]:
        """Returns the number and the identity of the training images."""
        return {**super().state_dict(), "images": self.identity}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises UserError if a checkpoint was trained on other images."""
        super().load_state_dict(state_dict)
        if state_dict.get("images", self.identity) != self.identity:
            raise UserError(
                f"the run was trained on other images than those in {self.root} now: names or sizes of files differ; "
                "give it the same images, or start another run in another hydra.run.dir="
            )

    @abstractmethod
    def source(self, split: str) -> ImageSource:
        """Returns the encoded images of the "train" or "test" split."""
