"""Folders that are named after a split are that split, and what is unclear is refused."""

from pathlib import Path

import pytest

from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files.splits import by_split, check_no_splits, split_named, unused_images

ROOT = Path("root")


def paths(*folders: str) -> tuple[Path, ...]:
    return tuple(ROOT / folder / f"{number}.png" for folder in folders for number in (1, 2))


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Train TRAIN training Training_Set train_set train2017 train-images TrainImages trainset"),
        (
            "train",
            "trainA train(1)",
        ),
        ("validation", "val VAL valid Valid validation dev Dev val2017 valid_set validation-images eval"),
        ("test", "test Test testing TESTING test_set test2015 test_images tests testB"),
        (None, "dog trainer train_station valley value development_kit_a devices testament t 2017 images evaluate_me"),
        (
            None,
            "testa traina",
        ),
    ],
)
def test_the_usual_names_are_known_in_any_case(split: str | None, names: str) -> None:
    assert {split_named(name) for name in names.split()} == {split}


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("test", ["test", "TESTING", "val", "Valid", "validation", "dev"])
def test_a_split_has_its_own_images_alone(train: str, test: str) -> None:
    splits = by_split(ROOT, paths(f"{train}/dog", f"{train}/cat", test))
    assert splits == {"train": paths(f"{train}/dog", f"{train}/cat"), "test": paths(test)}


def test_a_validation_folder_beside_a_test_folder_is_in_neither() -> None:
    images = paths("train", "valid", "test", "masks", ".")
    splits = by_split(ROOT, images)
    assert splits == {"train": paths("train"), "test": paths("test")}
    assert unused_images(ROOT, images, splits) == {"in valid": 2, "in masks": 2, "in root": 2}


@pytest.mark.parametrize("folders", [("dog", "cat"), ("a/b/train/dog", "c"), ("train",), ("val",), (".",)])
def test_folders_that_divide_nothing_are_no_splits(folders: tuple[str, ...]) -> None:
    assert by_split(ROOT, paths(*folders)) == {}
    check_no_splits(ROOT, paths(*folders), "images=")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("train", "vali"), r"root has train/ beside vali/, so it is unclear"),
        (("train", "bus", "car"), r"train/ beside bus/, car/"),
        (("train", "."), r"train/ beside images of its own"),
        (("test", "dog"), r"test/ beside dog/"),
        (("test", "val"), r"test/ beside val/"),
        (("train", "Train", "test"), r"root has train/, Train/, which are all train folders"),
        (("train", "val", "valid"), r"root has val/, valid/, which are all validation folders"),
        (("faces/train/1", "faces/val/1"), r"root/faces has train/, val/, which would be mixed"),
        (("bottle/train", "bottle/test", "cable/train"), r"root/bottle has train/, test/, which would"),
        (("a/train", "b/test"), r"root has a/train/, b/test/, which would be mixed"),
        (("x/a/train/1", "x/b/c/val/1", "x/d"), r"root/x has a/train/, b/c/val/, which would be mixed"),
        (("a/train/test",), r"root/a has train/test/, train/, which would be mixed"),
    ],
)
def test_what_is_unclear_is_refused(folders: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        by_split(ROOT, paths(*folders))


@pytest.mark.parametrize("folders", [("train", "test"), ("x/train", "x/val"), ("test", "valid", "other")])
def test_images_of_several_splits_are_no_one_set(folders: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"would be mixed; name one set with images="):
        check_no_splits(ROOT, paths(*folders), "images=")
