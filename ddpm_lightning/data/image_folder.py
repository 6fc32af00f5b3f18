"""Any folder of images, cropped and resized to one size as they are read."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ddpm_lightning.data.encoded import EncodedImagesDataModule, ImageSource
from ddpm_lightning.data.held_out import check_test_every, places_of
from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files.decoding import check_background, read_bytes
from ddpm_lightning.image_files.look import Look, described, look_at
from ddpm_lightning.image_files.search import FoundImages, find_images
from ddpm_lightning.image_files.splits import by_split, in_neither


class ImageFolderDataModule(EncodedImagesDataModule):
    """root: the folder, searched with all below it. With subfolders train/ and test/ (or val/), these are the splits;
    otherwise every test_every-th image, in order of path, is of the test split.

    background: the colour under transparent pixels. side, channels: see EncodedImagesDataModule.
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
        """The images below root, searched for once."""
        return find_images(self.root, "data.root=")

    @cached_property
    def given_splits(self) -> dict[str, tuple[Path, ...]]:
        """The images of each split where root has a folder for each."""
        return by_split(self.root, self.found.paths)

    def source(self, split: str) -> ImageSource:
        if self.given_splits:
            return Files(self.given_splits[split], self.root)
        where = f"{self.root.resolve()} (without train/ and test/)"
        places = places_of(split, len(self.found), self.test_every, where)
        return Files(tuple(self.found.paths[place] for place in places), self.root)

    @cached_property
    def look(self) -> Look:
        """What the images are, by the headers of some."""
        return look_at(self.found.paths)

    def check(self) -> None:
        if self.look.refused:
            raise UserError(self.look.refused[0])

    def described(self) -> str:
        unused = in_neither(self.root, self.found.paths, self.given_splits)
        background = self.background if self.channels < 4 else None
        return described(super().described(), self.found, self.look, background, unused)


@dataclass(frozen=True)
class Files:
    """Image files, as they lie in folders below a root."""

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
