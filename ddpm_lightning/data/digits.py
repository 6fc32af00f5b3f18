"""scikit-learn's handwritten digits: 1797 images of 8×8 pixels and 17 levels, shipped with the library."""

from typing import Any

import torch

from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.typing import Labels

TRAINING_IMAGES = 1500
"""The first 1500 images train and the last 297 test; scikit-learn has no split of its own."""


class DigitsDataModule(ImageDataModule):
    """`sklearn.datasets.load_digits`: nothing to download."""

    channels = 1
    size = (8, 8)
    pixels = PixelRange(17)

    def load(self, split: str) -> ImageDataset:
        return InMemoryImages(torch.from_numpy(_digits().images).to(torch.uint8)[:, None][_part(split)])

    def labels(self, split: str) -> Labels:
        """Which digit each image is: 0..9."""
        return torch.from_numpy(_digits().target).long()[_part(split)]


def _digits() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()


def _part(split: str) -> slice:
    return slice(TRAINING_IMAGES) if split == "train" else slice(TRAINING_IMAGES, None)
