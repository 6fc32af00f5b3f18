"""scikit-learn's handwritten digits: 1797 images of 8×8 pixels and 17 levels, shipped with the library."""

import torch

from ddpm_lightning.data.base import ImageDataModule
from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.pixels import PixelRange

TRAINING_IMAGES = 1500
"""The first 1500 images train and the last 297 test; scikit-learn has no split of its own."""


class DigitsDataModule(ImageDataModule):
    """`sklearn.datasets.load_digits`: nothing to download."""

    channels = 1
    size = (8, 8)
    pixels = PixelRange(17)

    def load(self, split: str) -> ImageDataset:
        from sklearn.datasets import load_digits

        images = torch.from_numpy(load_digits().images).to(torch.uint8)[:, None]
        return InMemoryImages(images[:TRAINING_IMAGES] if split == "train" else images[TRAINING_IMAGES:])
