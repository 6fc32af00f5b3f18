"""Folders of image files."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ddpm_lightning.data.encoded import EncodedImagesDataModule
from ddpm_lightning.data.held_out import check_test_every, places_of
from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files.decoding import check_background, read_bytes
from ddpm_lightning.image_files.headers import Headers, describe_images, read_headers
from ddpm_lightning.image_files.search import FoundImages, find_images
from ddpm_lightning.image_files.splits import by_split, unused_images
from ddpm_lightning.typing import Labels


class ImageFolderDataModule(EncodedImagesDataModule):
    """All images below a folder, cropped and resized to one size as they are read.

    Subfolders train/ and test/ (or val/) of the folder are the splits. Without them, every test_every-th image in
    order of path is in the test split. The class of an image is the next folder on its path: root/CLASS/… or
    root/train/CLASS/….

    Args:
        test_every: at least 2.
        background: the colour under transparent pixels, such as "white" or "#8040ff".
        **options: see `EncodedImagesDataModule`.
    """

    background: str

    def __init__(self, *, test_every: int = 10, background: str = "white", **options: Any) -> None:
        super().__init__(**options)
        check_test_every(test_every)
        check_background("data.background", background)
        self.test_every = test_every
        self.background = background

    @cached_property
    def found(self) -> FoundImages:
        """The images below root; the folder is searched once."""
        return find_images(self.root, "data.root=")

    @cached_property
    def given_splits(self) -> dict[str, tuple[Path, ...]]:
        """The images of each split if root has a folder for each, else {}."""
        return by_split(self.root, self.found.paths)

    def source(self, split: str) -> "Files":
        if self.given_splits:
            return Files(self.given_splits[split], self.root)
        where = f"{self.root.resolve()} (without train/ and test/)"
        places = places_of(split, len(self.found), self.test_every, where)
        return Files(tuple(self.found.paths[place] for place in places), self.root)

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # read from the folder when first asked for
        """The folders of the training images, in order of name. Raises UserError if an image lies in none."""
        return tuple(sorted(set(self._classes("train"))))

    def labels(self, split: str) -> Labels:
        """Returns the class of each image of a split, by its folder: [n]."""
        places = {name: place for place, name in enumerate(self.class_names)}
        unknown = set(self._classes(split)) - places.keys()
        if unknown:
            raise UserError(
                f"{self.root} has no training images of {', '.join(sorted(unknown))}, of which it has test images; "
                "remove them, or add some to train on"
            )
        return torch.tensor([places[name] for name in self._classes(split)])

    def _classes(self, split: str) -> list[str]:
        """Returns the name of the class of each image of a split."""
        first = 1 if self.given_splits else 0
        folders = [path.relative_to(self.root).parts[first:-1] for path in self.source(split).paths]
        if not all(folders):
            lost = self.source(split).paths[folders.index(())]
            raise UserError(f"{lost} lies in no folder of a class, as conditioning=class needs; move it into one")
        return [folder[0] for folder in folders]

    @cached_property
    def headers(self) -> Headers:
        """The headers of some of the images."""
        return read_headers(self.found.paths)

    def check(self) -> None:
        if self.headers.refused:
            raise UserError(self.headers.refused[0])

    def summary(self) -> str:
        unused = unused_images(self.root, self.found.paths, self.given_splits)
        background = self.background if self.channels < 4 else None
        return describe_images(super().summary(), self.found, self.headers, background, unused)


@dataclass(frozen=True)
class Files:
    """Image files below a folder.

    Args:
        paths: the files, in their order in the data set.
        root: the folder.
    """

    paths: tuple[Path, ...]
    root: Path = Path()

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, place: int) -> str:
        return str(self.paths[place])

    def read(self, place: int) -> bytes:
        return read_bytes(self.paths[place])

    def fingerprint(self) -> str:
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        return hashlib.sha256(repr(files).encode()).hexdigest()

    def identity(self) -> str:
        files = [(os.path.relpath(path, self.root), path.stat().st_size) for path in self.paths]
        return hashlib.sha256(repr(files).encode()).hexdigest()
