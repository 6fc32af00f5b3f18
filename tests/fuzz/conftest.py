"""What the fuzzing of commands needs: a worker, and small files of every data set."""

import gzip
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm_lightning.cli.prepare import convert
from ddpm_lightning.data import cifar10, fashion_mnist
from ddpm_lightning.data.image_folder import ImageFolderDataModule
from tests.data.formats import encoded, picture, write_lsun
from tests.fuzz.runner import Runner


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """A worker for the whole session."""
    kept = Runner()
    yield kept
    kept.close()


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every data set finds a few images."""
    folder = tmp_path_factory.mktemp("data")
    draws = np.random.default_rng(0)
    for split in ("train", "test"):
        write_idx(folder / f"{fashion_mnist.FILES[split]}.gz", draws.integers(0, 256, (8, 28, 28), np.uint8))
        for name in cifar10.FILES[split]:
            write_cifar(folder / cifar10.FOLDER / name, draws.integers(0, 256, (4, 3072), np.uint8))
        for number in range(8):
            path = folder / "images" / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draws.integers(0, 256, (9, 8, 3), np.uint8)).save(path)
        part = {"train": "train", "test": "val"}[split]
        write_lsun(folder / f"bedroom_{part}_lmdb", [encoded(picture(number)) for number in range(8)])
    write_shards(folder / "images", folder / "shards")
    return folder


def write_shards(images: Path, into: Path) -> None:
    """As prepare.py makes them of a folder."""
    convert(ImageFolderDataModule(root=str(images), side=8), into, images_per_shard=5, workers=0)


def write_idx(path: Path, images: np.ndarray) -> None:
    """An idx file of bytes, gzipped if it is so named."""
    header = np.array([fashion_mnist.IDX_OF_BYTES + images.ndim, *images.shape], dtype=">i4")
    content = header.tobytes() + images.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_cifar(path: Path, rows: np.ndarray) -> None:
    """A batch file of CIFAR-10."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps({b"data": rows, b"labels": [0] * len(rows)}))
