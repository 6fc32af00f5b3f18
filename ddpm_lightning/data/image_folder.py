"""Any folder of images, cropped and resized to one size as they are read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_lightning.data.encoded import EncodedImagesDataModule, ImageSource
from ddpm_lightning.data.splits import check_test_every, places_of
from ddpm_lightning.image_files import find_images, read_bytes

TEST_FOLDERS = ("test", "val")


class ImageFolderDataModule(EncodedImagesDataModule):
    """root: the folder, searched with all below it. With subfolders train/ and test/ (or val/), these are the splits;
    otherwise every test_every-th image, in order of path, is of the test split.

    side, channels: see EncodedImagesDataModule.
    """

    def __init__(self, *, test_every: int = 10, **options: Any) -> None:
        super().__init__(**options)
        check_test_every(test_every)
        self.test_every = test_every

    def source(self, split: str) -> ImageSource:
        tests = [self.root / name for name in TEST_FOLDERS if (self.root / name).is_dir()]
        if tests and (self.root / "train").is_dir():
            return Files(tuple(find_images(self.root / "train" if split == "train" else tests[0], "data.root=")))
        everything = find_images(self.root, "data.root=")
        places = places_of(split, len(everything), self.test_every, f"{self.root.resolve()} (without train/ and test/)")
        return Files(tuple(everything[place] for place in places))


@dataclass(frozen=True)
class Files:
    """Image files, as they lie in folders."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, place: int) -> str:
        return str(self.paths[place])

    def read(self, place: int) -> bytes:
        return read_bytes(self.paths[place])

    def fingerprint(self) -> str:
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        return hashlib.sha256(repr(files).encode()).hexdigest()
