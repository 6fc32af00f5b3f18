"""Damaged files of every kind: a UserError or a right answer, nothing else."""

import io
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ddpm_lightning.data.cifar10 import read_batch
from ddpm_lightning.data.fashion_mnist import read_idx
from ddpm_lightning.data.shards import ShardsDataModule
from ddpm_lightning.diffusion.samplers import DDIMSampler
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.evaluation.image_sets import Given
from ddpm_lightning.metrics.classifier import load_classifier, shipped_weights
from ddpm_lightning.metrics.reference import Reference, load_reference
from ddpm_lightning.runtime.recipe import RECIPE
from ddpm_lightning.training.checkpoint import load_model, newest_undamaged
from ddpm_lightning.training.generate import make_images
from tests.commands import SMALL, train
from tests.data.formats import everything, read_file, write_folder
from tests.fuzz.conftest import write_idx, write_shards
from tests.fuzz.damage import CHANGES, EDITS, Change, Edit, damaged, misshapen
from tests.fuzz.runner import Runner, assert_whole_or_told

DRAWS = np.random.default_rng(0)
PIXELS = DRAWS.integers(0, 256, (6, 8, 9, 3), np.uint8)

QUICK = settings(
    deadline=None, derandomize=True, database=None, max_examples=25, suppress_health_check=list(HealthCheck)
)
SLOW = settings(QUICK, derandomize=False, max_examples=2000)


def picture(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(file, kind, **options)
    return file.getvalue()


def arrays(**parts: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **parts)
    return file.getvalue()


def written(write: Callable[[Path, np.ndarray], None], name: str, rows: np.ndarray) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name, rows)
        return (Path(folder) / name).read_bytes()


def read_given(path: Path) -> None:
    assert all(batch.dtype == torch.uint8 and batch.ndim == 4 for batch in Given(path).batches())


def read_shard(path: Path) -> None:
    images = torch.cat(list(GeneratedShards(path.parent).read(6)))
    assert images.dtype == torch.uint8
    assert len(images) == 6


def read_recipe(path: Path) -> None:
    GeneratedShards(path.parent).check({"seed": 0, "model": {"T": 8}})


def read_pixels(path: Path) -> None:
    assert read_file(path, 4, 3).shape == (3, 4, 4)


def read_features(path: Path) -> None:
    reference = load_reference(path, 5)
    assert isinstance(reference, Reference)
    assert len(reference.statistics["mu"]) == 5


def read_rows(path: Path) -> None:
    assert read_batch(path).shape[1:] == (3, 32, 32)


def read_grey(path: Path) -> None:
    assert read_idx(path, 3).ndim == 3


def made_shards() -> dict[str, bytes]:
    """A whole folder of shards of ten images."""
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder) / "images", 10)
        write_shards(Path(folder) / "images", Path(folder) / "shards")
        return {path.name: path.read_bytes() for path in (Path(folder) / "shards").iterdir()}


SHARDS = made_shards()


def read_shards(path: Path) -> None:
    """With the rest of the folder beside what is damaged."""
    for name in SHARDS.keys() - {path.name}:
        (path.parent / name).write_bytes(SHARDS[name])
    images = everything(ShardsDataModule(root=str(path.parent), side=8), "train")
    assert images.dtype == torch.uint8
    assert images.shape[1:] == (3, 8, 8)


FEATURES = DRAWS.normal(size=(9, 5))
KINDS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    **{
        f"image {kind}": (f"a.{suffix}", picture(kind, **options), read_pixels)
        for kind, suffix, options in (
            *(("PNG", "png", {}), ("JPEG", "jpg", {}), ("WEBP", "webp", {}), ("BMP", "bmp", {})),
            *(("TIFF", "tif", {}), ("TIFF", "tiff", {"compression": "tiff_lzw"})),
        )
    },
    "idx": ("a", written(write_idx, "a", PIXELS[..., 0]), read_grey),
    "idx gzipped": ("a.gz", written(write_idx, "a.gz", PIXELS[..., 0]), read_grey),
    "cifar": ("a", pickle.dumps({b"data": DRAWS.integers(0, 256, (2, 3072), np.uint8)}), read_rows),
    "images in an npz": ("a.npz", arrays(images=PIXELS), read_given),
    "shard": ("000000-000005.npz", arrays(images=PIXELS.transpose(0, 3, 1, 2)), read_shard),
    **{f"shards' {name}": (name, SHARDS[name], read_shards) for name in ("shards.json", "train-000000.json")},
    "shard of images": ("train-000000.tar", SHARDS["train-000000.tar"], read_shards),
    "recipe": (RECIPE, b'{"seed": 0, "model": {"T": 8}}', read_recipe),
    "features": ("a.npz", arrays(features=FEATURES), read_features),
    "statistics": ("a.npz", arrays(mu=FEATURES[0], sigma=np.cov(FEATURES.T)), read_features),
    "classifier": ("a.safetensors", shipped_weights("digits").read_bytes(), load_classifier),
}


def right_or_refused(read: Callable[[Path], object], name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        path.write_bytes(content)
        refused = ""
        try:
            read(path)
        except UserError as error:
            refused = str(error)
        assert len(refused) < 800


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_file_is_read(kind: str, tmp_path: Path) -> None:
    name, content, read = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    read(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
@settings(QUICK)
@given(edits=EDITS)
def test_a_damaged_file_is_refused_or_read(kind: str, edits: list[Edit]) -> None:
    name, content, read = KINDS[kind]
    right_or_refused(read, name, damaged(content, edits))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(SLOW)
@given(edits=EDITS)
def test_many_damaged_files_are_refused_or_read(kind: str, edits: list[Edit]) -> None:
    name, content, read = KINDS[kind]
    right_or_refused(read, name, damaged(content, edits))


DTYPES = ["u1", "i8", ">f4", "f2", "f8", "g", "c16", "U3", "S5", "M8[s]", "?", "V4"]


@settings(QUICK)
@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(0, 6), max_size=5),
    name=st.sampled_from(["images", "arr_0", "features", "mu", "sigma"]),
)
def test_arrays_of_any_kind_are_refused_or_read(dtype: str, shape: list[int], name: str) -> None:
    content = arrays(**{name: np.zeros(shape, dtype)})
    for read in (read_given, read_features):
        right_or_refused(read, "a.npz", content)
    right_or_refused(read_shard, "000000-000005.npz", content)


@settings(QUICK)
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "F", "I", "I;16"]),
    kind=st.sampled_from(["TIFF", "PNG", "JPEG", "WEBP", "BMP"]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_images_of_any_kind_are_refused_or_read(mode: str, kind: str, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    try:
        Image.new(mode, size).save(file, kind)
    except OSError:
        return  # there are no such files
    right_or_refused(read_pixels, f"a.{kind.lower()}", file.getvalue())


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small run."""
    return train(tmp_path_factory.mktemp("run"), "trainer.max_steps=3") / "checkpoints" / "last.ckpt"


def use(path: Path) -> None:
    """What sample.py does with a checkpoint."""
    _, data, model = load_model(path, use_ema=True)
    images = make_images(model, DDIMSampler(num_steps=2), data, range(2), seed=0)
    assert images.dtype == torch.uint8


def bad(checkpoint: Path, edits: list[Edit], change: Change, where: str) -> bytes:
    """The checkpoint, damaged as a file or misshapen inside; where: how the names of
    the parts begin that are misshapen."""
    if edits:
        return damaged(checkpoint.read_bytes(), edits)
    content = torch.load(checkpoint, weights_only=True)
    parts = misshapen({key: value for key, value in content.items() if key.startswith(where)}, change)
    file = io.BytesIO()
    torch.save({**{key: value for key, value in content.items() if not key.startswith(where)}, **parts}, file)
    return file.getvalue()


PARTS = st.sampled_from(["", "config", "callbacks", "loops", "optimizer_states", "ema"])


@settings(QUICK, max_examples=40)
@given(edits=EDITS)
def test_a_damaged_checkpoint_is_refused_or_read(checkpoint: Path, edits: list[Edit]) -> None:
    right_or_refused(use, "a.ckpt", damaged(checkpoint.read_bytes(), edits))


@settings(QUICK, max_examples=15)
@given(change=CHANGES, where=st.sampled_from(["", "config"]))
def test_a_misshapen_checkpoint_is_refused_or_read(checkpoint: Path, change: Change, where: str) -> None:
    right_or_refused(use, "a.ckpt", bad(checkpoint, [], change, where))


@pytest.mark.slow
@settings(SLOW)
@given(edits=st.just([]) | EDITS, change=CHANGES, where=st.sampled_from(["", "config"]))
def test_many_bad_checkpoints_are_refused_or_read(
    checkpoint: Path, edits: list[Edit], change: Change, where: str
) -> None:
    right_or_refused(use, "a.ckpt", bad(checkpoint, edits, change, where))


@pytest.mark.slow
@settings(QUICK, derandomize=False, max_examples=150)
@given(edits=st.just([]) | EDITS, change=CHANGES, where=PARTS)
def test_a_run_on_a_bad_checkpoint_goes_on_or_says_why_not(
    runner: Runner, checkpoint: Path, edits: list[Edit], change: Change, where: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run" / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        path.write_bytes(bad(checkpoint, edits, change, where))
        outcome = runner.run("train", f"hydra.run.dir={folder}/run", *SMALL, "trainer.max_steps=4")
        assert "Traceback" not in outcome["said"], outcome["said"]
        if outcome["code"] == 0:
            assert newest_undamaged(path) is not None
            assert_whole_or_told(outcome, Path(folder) / "run")
