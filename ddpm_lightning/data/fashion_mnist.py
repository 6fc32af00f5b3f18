"""Fashion-MNIST: 60,000 + 10,000 grey images of 28×28 pixels, from idx files."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.download import download
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Labels, Pixels

FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LABEL_FILES = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}
Bytes = UInt8[Tensor, "..."]
IDX_OF_BYTES = 0x800
"""The first number of an idx file of bytes is this plus the number of dimensions."""

MAX_UNPACKED_BYTES = 2**30
"""The most bytes that a file may unpack to: twenty times Fashion-MNIST's."""

SIZE = (28, 28)

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
ADVICE = (
    f"put {FILES['train']}.gz and {FILES['test']}.gz there, name another folder with data.root=, or install Debian's "
    "package dataset-fashion-mnist"
)


class FashionMNISTDataModule(ImageDataModule):
    """Fashion-MNIST with its own train and test split.

    Args:
        root: a folder with the idx files, raw or gzipped. If it has none, those of Debian's package
            dataset-fashion-mnist are read, or else torchvision downloads them to root.
        **options: see `ImageDataModule`.
    """

    channels = 1
    size = SIZE
    class_names = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )

    def __init__(self, *, root: str = "data", **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    def load(self, split: str) -> ImageDataset:
        return InMemoryImages(self._read(split))

    def _read(self, split: str) -> Pixels:
        path = self._find(FILES[split])
        images = read_idx(path, dimensions=3)[:, None]
        if images.shape[2:] != SIZE:
            raise UserError(f"{path} holds images of {tuple(images.shape[2:])} pixels, Fashion-MNIST's are {SIZE}")
        return images

    def labels(self, split: str) -> Labels:
        """Returns the class of each image of a split, in 0..9: [n]."""
        return read_idx(self._find(LABEL_FILES[split]), dimensions=1).long()

    def _find(self, name: str) -> Path:
        found = self._look_for(name)
        if found is None:
            from torchvision.datasets import FashionMNIST

            download(FashionMNIST, self.root, ADVICE)
            found = self._look_for(name)
        assert found is not None
        return found

    def _look_for(self, name: str) -> Path | None:
        folders = (self.root, self.root / "FashionMNIST" / "raw", DEBIAN_FOLDER)
        candidates = [folder / file for folder in folders for file in (name, f"{name}.gz")]
        return next((path for path in candidates if path.is_file()), None)


class FashionMNIST16DataModule(FashionMNISTDataModule):
    """Fashion-MNIST at 16×16, to train on a CPU: padded with black to 32×32, then averaged over 2×2 pixels, rounded."""

    size = (16, 16)

    def load(self, split: str) -> ImageDataset:
        framed = F.pad(self._read(split), (2, 2, 2, 2))
        return InMemoryImages(F.avg_pool2d(framed.float(), 2).round().to(torch.uint8))


def read_idx(path: Path, dimensions: int) -> Bytes:
    """Reads an idx file of bytes, gzipped or raw.

    Args:
        path: the file; a name that ends in .gz is unpacked.
        dimensions: how many dimensions the array must have.

    Raises:
        UserError: the file is damaged, or another kind of file.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked ({error}): the file is damaged; fetch it again") from error
    if len(content) > MAX_UNPACKED_BYTES:
        raise UserError(
            f"{path} unpacks to more than {MAX_UNPACKED_BYTES} bytes, twenty times Fashion-MNIST's; fetch it again"
        )
    header = 4 * (1 + dimensions)
    if len(content) < header:
        raise UserError(f"{path} has {len(content)} bytes, too few for an idx file's header; fetch it again")
    magic, *shape = (int(number) for number in np.frombuffer(content, dtype=">i4", count=1 + dimensions))
    if magic != IDX_OF_BYTES + dimensions:
        raise UserError(
            f"{path} is not an idx file of {dimensions} dimensions: it begins with {magic}, not "
            f"{IDX_OF_BYTES + dimensions}; fetch it again"
        )
    if len(content) != header + math.prod(shape):
        raise UserError(
            f"{path} is truncated or too long: its header promises {'×'.join(map(str, shape))} bytes after the first "
            f"{header}, but it has {len(content)} in all; fetch it again"
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy())
