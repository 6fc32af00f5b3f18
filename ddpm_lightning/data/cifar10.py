"""CIFAR-10: 50,000 + 10,000 colour images of 32×32 pixels, in the format that torchvision downloads."""

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_lightning.data.batches import ImageDataset, InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.download import download
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.typing import Labels, Pixels

FOLDER = "cifar-10-batches-py"
FILES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10 with its own train and test split.

    Args:
        root: the folder that holds cifar-10-batches-py; torchvision downloads it there if it is missing.
        **options: see `ImageDataModule`.
    """

    channels = 3
    size = (32, 32)
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(self, *, root: str = "data", **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    def load(self, split: str) -> ImageDataset:
        return InMemoryImages(torch.cat([read_batch(path) for path in self._files(split)]))

    def labels(self, split: str) -> Labels:
        """Returns the class of each image of a split, in 0..9: [n]."""
        return torch.cat([read_labels(path) for path in self._files(split)])

    def _files(self, split: str) -> list[Path]:
        paths = [self.root / FOLDER / name for name in FILES[split]]
        if not all(path.is_file() for path in paths):
            from torchvision.datasets import CIFAR10

            download(CIFAR10, self.root, "unpack cifar-10-python.tar.gz there, or name another folder with data.root=")
        return paths


class _Rows:
    """Takes the place of a uint8 array in a pickle: NumPy's own loader trusts the shape and dtype in it."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        _, shape, _, _, content = state
        self.array = np.frombuffer(content, dtype=np.uint8).reshape(shape)


class _Described:
    """Takes the place of an array's class and dtype in a pickle, which are ignored."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _ArraysOnly(pickle.Unpickler):
    """Reads uint8 arrays and plain containers, and refuses a pickle that needs anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return _Rows if name == "_reconstruct" else _Described
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_batch(path: Path) -> Pixels:
    """Reads the images of a file of cifar-10-batches-py: [n, 3, 32, 32].

    Raises:
        UserError: the file is damaged.
    """
    with _reading(path) as content:
        return torch.from_numpy(content[b"data"].array.reshape(-1, 3, 32, 32).copy())


def read_labels(path: Path) -> Labels:
    """Reads the labels of a file of cifar-10-batches-py: [n]. Raises UserError if the file is damaged."""
    with _reading(path) as content:
        labels = torch.tensor(content[b"labels"], dtype=torch.int64)
        if labels.shape != (content[b"data"].array.size // 3072,) or not ((labels >= 0) & (labels < 10)).all():
            raise ValueError("its labels are not one of 0..9 for each image")
        return labels


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """Yields the content of a batch file. Turns all exceptions inside into a UserError with the path."""
    try:
        yield _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(f"{path} is not a whole batch file of CIFAR-10 ({shown(error)}); fetch it again") from error
