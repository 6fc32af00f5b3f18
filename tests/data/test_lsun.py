"""LSUN from databases in its own format: the preparation of StyleGAN, every image once, mistakes told."""

import io
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning.data.encoded import crop_and_resize
from ddpm_lightning.data.lsun import LSUNDataModule
from ddpm_lightning.errors import UserError
from tests.data.formats import encoded, everything, picture, write_lsun


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a scene, which has a validation set, and an object, which has none."""
    folder = tmp_path_factory.mktemp("lsun")
    for name, numbers in (
        ("bedroom_train_lmdb", range(12)),
        ("bedroom_val_lmdb", range(12, 15)),
        ("cat", range(20, 43)),
    ):
        write_lsun(folder / name, [encoded(picture(number), quality=75) for number in numbers])
    return folder


def lsun(root: Path, category: str = "bedroom", **options: int) -> LSUNDataModule:
    return LSUNDataModule(root=str(root), category=category, side=16, batch_size=4, **options)


def as_stylegan_prepares(image: Image.Image, resolution: int) -> np.ndarray:
    """The arithmetic of create_lsun in StyleGAN's dataset_tool.py, on an array: [h, w, c]."""
    array = np.asarray(image)
    h, w = array.shape[:2]
    crop = min(h, w)
    middle = array[(h - crop) // 2 : (h + crop) // 2, (w - crop) // 2 : (w + crop) // 2]
    return np.asarray(Image.fromarray(middle).resize((resolution, resolution), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("size", [(40, 32), (32, 41), (33, 57), (16, 16), (9, 300), (256, 341)])
def test_images_are_prepared_as_stylegan_does(size: tuple[int, int]) -> None:
    image = picture(1, size)
    for resolution in (16, 24):
        assert np.array_equal(
            np.asarray(crop_and_resize(image, (resolution, resolution))), as_stylegan_prepares(image, resolution)
        )


def test_the_images_are_those_of_the_database_in_order_of_keys(tmp_path: Path) -> None:
    found = write_lsun(tmp_path / "bedroom_train_lmdb", [encoded(picture(number)) for number in range(7)])
    images = everything(lsun(tmp_path), "train")
    for key, image in zip(sorted(found), images, strict=True):
        expected = as_stylegan_prepares(Image.open(io.BytesIO(found[key])).convert("RGB"), 16)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


def test_of_a_scene_the_validation_set_tests_and_of_an_object_every_so_many_th(root: Path) -> None:
    assert [len(lsun(root).images(split)) for split in ("train", "test")] == [12, 3]
    cat = lsun(root, "cat", test_every=10)
    train, test = everything(cat, "train"), everything(cat, "test")
    assert [len(train), len(test)] == [21, 2]
    assert len({image.numpy().tobytes() for image in torch.cat([train, test])}) == 23


def test_processes_that_read_ahead_read_the_same(root: Path) -> None:
    """Each opens the database for itself: one that outlives a fork is no longer good."""
    read = [list(lsun(root, num_workers=workers, eval_batch_size=2).in_order("train")) for workers in (0, 2, 0)]
    for batches in zip(*read, strict=True):
        assert all(torch.equal(batch.x_0, batches[0].x_0) for batch in batches)


def test_a_database_that_is_not_there_is_told_with_those_that_are(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no database kitchen_train_lmdb in .*, but bedroom_train_lmdb, bedroom_val"):
        lsun(root, "kitchen").load("train")
    with pytest.raises(UserError, match="but none at all"):
        lsun(tmp_path).load("train")
    with pytest.raises(UserError, match=r"data\.category=\.\./x is not a category of LSUN"):
        lsun(root, "../x")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[: len(content) // 2], "of its .* bytes; unpack or fetch it again"),
        (lambda content: b"<html>not found</html>", "cannot be read as an LMDB database"),
        (lambda content: b"", "cannot be read as an LMDB database"),
    ],
)
def test_a_damaged_database_is_named(tmp_path: Path, damage: object, words: str) -> None:
    assert callable(damage)
    write_lsun(tmp_path / "cat", [encoded(picture(number)) for number in range(20)])
    path = tmp_path / "cat" / "data.mdb"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=words) as caught:
        lsun(tmp_path, "cat").load("train")
    assert str(tmp_path / "cat") in str(caught.value)


def test_an_empty_database_is_named(tmp_path: Path) -> None:
    write_lsun(tmp_path / "cat", [])
    with pytest.raises(UserError, match="cat holds no images"):
        lsun(tmp_path, "cat").load("train")


def test_a_broken_image_is_named_by_its_key(tmp_path: Path) -> None:
    (key,) = write_lsun(tmp_path / "bedroom_train_lmdb", [b"no image"])
    with pytest.raises(UserError, match=rf"bedroom_train_lmdb: {key.decode()} cannot be read as an image"):
        everything(lsun(tmp_path), "train")


def test_without_the_library_the_extra_is_named(root: Path) -> None:
    with patch.dict("sys.modules", {"lmdb": None}), pytest.raises(UserError, match=r"ddpm-lightning\[lmdb\]"):
        lsun(root).load("train")


def test_the_fingerprint_is_that_of_the_images(root: Path) -> None:
    prints = {
        lsun(root, category, test_every=10).images(split).fingerprint()
        for category in ("bedroom", "cat")
        for split in ("train", "test")
    }
    assert len(prints) == 4
    assert lsun(root).images("train").fingerprint() in prints
