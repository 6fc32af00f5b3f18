"""Random pixels of any shape, for tests and for measuring speed."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.seeding import generator

MAX_NUMBERS = 2**28
"""The most numbers in a split: 87,000 colour images of 32×32 pixels."""


class FakeDataModule(ImageDataModule):
    """Images of independent uniform random pixels.

    Args:
        channels: the channels of an image, at least 1.
        size: its height and width.
        levels: the values a pixel can take, in 2..256.
        num_images: the images in each split.
        **options: see `ImageDataModule`.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        size: Sequence[int] = (32, 32),
        levels: int = 256,
        num_images: int = 256,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_whole("data.num_images", num_images, 1, "there must be something to train on; use 256")
        check_whole("data.channels", channels, 1, "an image has at least one channel; use 3")
        if len(size) != 2:
            raise UserError(f"data.size={list(size)} is not a height and a width; use [32,32]")
        for length in size:
            check_whole("data.size", length, 1, "an image has at least one pixel; use [32,32]")
        numbers = num_images * channels * math.prod(size)
        check_at_most(
            "numbers in data", numbers, MAX_NUMBERS, "they are kept in memory; choose fewer or smaller images"
        )
        self.channels = channels
        self.size = (size[0], size[1])
        self.pixels = PixelRange(levels)
        self.num_images = num_images

    def load(self, split: str) -> ImageDataset:
        shape = (self.num_images, self.channels, *self.size)
        pixels = torch.randint(0, self.pixels.levels, shape, generator=generator(self.seed, "fake", split))
        return InMemoryImages(pixels.to(torch.uint8))
