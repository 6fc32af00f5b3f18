"""Encoded images, wherever they lie, decoded and cut to one size as they are read."""

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
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.image_files.decoding import decode_image

log = logging.getLogger(__name__)

Side = int | tuple[int, int]
"""Of square images the side, of others height and width."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@runtime_checkable
class ImageSource(Protocol):
    """Encoded images by their places: of a folder, a database, a set of shards. It may travel to other processes.

    name: what messages call an image. read: its bytes; raises UserError where they cannot be had.
    fingerprint: changes when the images do. identity: the same for a copy of the images elsewhere.
    """

    def __len__(self) -> int: ...

    def name(self, place: int) -> str: ...

    def read(self, place: int) -> bytes: ...

    def fingerprint(self) -> str: ...

    def identity(self) -> str: ...


@dataclass(frozen=True)
class EncodedImages(Dataset[Batch]):
    """A source, read and decoded a batch at a time: [channels, height, width] each.

    side: of a square, or (height, width). background: the colour under transparent pixels; None drops their
    transparency.
    """

    source: ImageSource
    side: Side
    channels: int
    background: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return size_of(self.side)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, plan: Plan) -> Batch:
        images = [self.pixels(place) for place in plan.indices.tolist()]
        return Batch(torch.stack(images), plan.flip, plan.indices)

    def pixels(self, place: int) -> torch.Tensor:
        """One image: [channels, height, width]."""
        image = np.array(cut(self.decode(place, self.source.read(place)), self.size))
        if self.channels == 4:
            image[image[:, :, 3] == 0] = 0  # nobody sees these colours
        return torch.from_numpy(image).reshape(*self.size, -1).permute(2, 0, 1).contiguous()

    def decode(self, place: int, content: bytes) -> Image.Image:
        """The whole image that was read at this place, in as many channels as are asked for."""
        name, mode = self.source.name(place), MODES[self.channels]
        return decode_image(io.BytesIO(content), name, lambda _: mode, self.background if self.channels < 4 else None)

    def fingerprint(self) -> str:
        shown = (self.side, self.channels) if self.background is None else (self.side, self.channels, self.background)
        return hashlib.sha256(repr((self.source.fingerprint(), *shown)).encode()).hexdigest()


def cut(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of the image, as large as the shape of size (height, width) allows, resized to it (Lanczos). Of a
    square size, this is the preparation of the paper's LSUN (`create_lsun` in StyleGAN's dataset_tool.py)."""
    (height, width), (crop_width, crop_height) = size, crop_of(image, size)
    left, top = (image.width - crop_width) // 2, (image.height - crop_height) // 2
    middle = image.crop((left, top, left + crop_width, top + crop_height))
    return middle.resize((width, height), Image.Resampling.LANCZOS)


def crop_of(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the largest part of the image that has the shape of size (height, width)."""
    height, width = size
    if image.width * height >= image.height * width:
        return max(1, image.height * width // height), image.height
    return image.width, max(1, image.width * height // width)


def size_of(side: Side) -> tuple[int, int]:
    """Height and width."""
    return (side, side) if isinstance(side, int) else side


def typed(side: Side) -> str:
    """The side as one types it: 256, or [48,64]."""
    return str(side) if isinstance(side, int) else f"[{side[0]},{side[1]}]"


class EncodedImagesDataModule(ImageDataModule):
    """root: where the images lie. side: their height and width in one number, or [height, width]; the middle is cut out
    and resized to it.

    channels: 3 for colour, 1 for grey, 4 for colour and alpha (black where nothing is seen). background: see
    EncodedImages.
    """

    background: str | None = None

    def __init__(self, *, root: str, side: int | list[int] = 256, channels: int = 3, **options: Any) -> None:
        super().__init__(**options)
        if channels not in MODES:
            raise UserError(f"data.channels={channels} is none of 3 (colour), 4 (with alpha) and 1 (grey); choose one")
        sides: list[Any] = side if isinstance(side, list) and len(side) == 2 else [side]
        for length in sides:
            check_whole("data.side", length, 1, "give the pixels of a side, or [height,width]; the paper uses 256")
            check_at_most("data.side", length, 4096, "a batch of such images would fill the memory; the paper uses 256")
        self.root = Path(root)
        self.channels = channels
        self.size = (sides[0], sides[-1])

    @property
    def side(self) -> Side:
        """Of square images the side, of others height and width."""
        return self.size[0] if self.size[0] == self.size[1] else self.size

    def load(self, split: str) -> EncodedImages:
        return EncodedImages(self.source(split), self.side, self.channels, self.background)

    def setup(self, stage: str) -> None:
        """Loads what the stage needs; before training it checks the images, and says once what they are."""
        is_new = stage == "fit" and not self.loaded
        if is_new:
            self.check()
        super().setup(stage)
        if is_new:
            self._tell()

    @rank_zero_only
    def _tell(self) -> None:
        log.info("%s", self.described())

    def check(self) -> None:
        """Raises UserError where images that cannot be read are known before any is read."""

    def described(self) -> str:
        """One line on the images: how many of which split, and what they are."""
        counts = " and ".join(f"{len(self.images(split))} {split}" for split in ("train", "test"))
        return f"data.root={self.root}: {counts} images"

    @cached_property
    def identity(self) -> str:
        """What tells the training images from others, wherever they lie."""
        images = self.images("train")
        assert isinstance(images, EncodedImages)
        return images.source.identity()

    def state_dict(self) -> dict[str, Any]:
        """How many images it trains on, and which."""
        return {**super().state_dict(), "images": self.identity}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises UserError where these are not the images that the run was trained on."""
        super().load_state_dict(state_dict)
        if state_dict.get("images", self.identity) != self.identity:
            raise UserError(
                f"the run was trained on other images than those in {self.root} now: names or sizes of files differ; "
                "give it the same images, or start another run in another hydra.run.dir="
            )

    @abstractmethod
    def source(self, split: str) -> ImageSource:
        """The encoded images of the "train" or "test" split."""
