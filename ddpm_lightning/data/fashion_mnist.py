"""Fashion-MNIST: 60,000 + 10,000 grey images of 28×28 pixels, read from idx files, gzipped or not."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_lightning.data.base import ImageDataModule
from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.download import download
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Pixels

FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
IMAGE_MAGIC = 2051
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
MEND = (
    f"put {FILES['train']}.gz and {FILES['test']}.gz there, name another folder with data.root=, or install Debian's "
    "package dataset-fashion-mnist"
)


class FashionMNISTDataModule(ImageDataModule):
    """root: a folder with the idx files, raw or gzipped, or one that torchvision downloads to. Where it has none, those
    of Debian's package dataset-fashion-mnist are taken if they are there, and else torchvision is asked to download."""

    channels = 1
    size = (28, 28)

    def __init__(self, *, root: str = "data", **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    def load(self, split: str) -> ImageDataset:
        path = self._find(FILES[split])
        images = read_idx_images(path)
        if images.shape[2:] != self.size:
            raise UserError(f"{path} holds images of {tuple(images.shape[2:])} pixels, Fashion-MNIST's are {self.size}")
        return InMemoryImages(images)

    def _find(self, name: str) -> Path:
        found = self._look_for(name)
        if found is None:
            from torchvision.datasets import FashionMNIST

            download(FashionMNIST, self.root, MEND)
            found = self._look_for(name)
        assert found is not None
        return found

    def _look_for(self, name: str) -> Path | None:
        folders = (self.root, self.root / "FashionMNIST" / "raw", DEBIAN)
        candidates = [folder / file for folder in folders for file in (name, f"{name}.gz")]
        return next((path for path in candidates if path.is_file()), None)


def read_idx_images(path: Path) -> Pixels:
    """An idx file of images, gzipped or raw, as [n, 1, h, w]. Raises UserError, naming the file, if it is not whole."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be unpacked ({error}): the file is damaged; fetch it again") from error
    if len(content) < 16:
        raise UserError(f"{path} has {len(content)} bytes, too few for an idx file's header; fetch it again")
    magic, n, h, w = (int(number) for number in np.frombuffer(content, dtype=">i4", count=4))
    if magic != IMAGE_MAGIC:
        raise UserError(f"{path} is no idx file of images: it begins with {magic}, not {IMAGE_MAGIC}; fetch it again")
    if len(content) != 16 + n * h * w:
        raise UserError(
            f"{path} is truncated or too long: its header promises {n} images of {h}×{w} pixels, "
            f"{16 + n * h * w} bytes, but it has {len(content)}; fetch it again"
        )
    pixels = np.frombuffer(content, dtype=np.uint8, offset=16).reshape(n, 1, h, w)
    return torch.from_numpy(pixels.copy())
