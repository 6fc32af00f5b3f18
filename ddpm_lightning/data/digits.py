"""scikit-learn's handwritten digits: 1797 grey images of 8×8 pixels and 17 levels, shipped with the library."""

from typing import Any

import torch

from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.typing import Labels

TRAINING_IMAGES = 1500
"""The first 1500 images are the train split, the last 297 the test split; scikit-learn has no split."""


class DigitsDataModule(ImageDataModule):
    """The digits of `sklearn.datasets.load_digits`; nothing is downloaded. For the arguments, see `ImageDataModule`."""

    channels = 1
    size = (8, 8)
    pixels = PixelRange(17)
    class_names = tuple("0123456789")

    def load(self, split: str) -> ImageDataset:
        return InMemoryImages(torch.from_numpy(_digits().images).to(torch.uint8)[:, None][_part(split)])

    def labels(self, split: str) -> Labels:
        """Returns the digit of each image of a split, 0..9: [n]."""
        return torch.from_numpy(_digits().target).long()[_part(split)]


def _digits() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()


def _part(split: str) -> slice:
    return slice(TRAINING_IMAGES) if split == "train" else slice(TRAINING_IMAGES, None)
