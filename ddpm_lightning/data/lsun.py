"""LSUN, from the databases that its `download.py` fetches."""

from pathlib import Path
from typing import Any

from ddpm_lightning.data.encoded import EncodedImagesDataModule, ImageSource
from ddpm_lightning.data.held_out import check_test_every, places_of
from ddpm_lightning.data.lmdb_images import Database
from ddpm_lightning.errors import UserError


class LSUNDataModule(EncodedImagesDataModule):
    """One category of LSUN.

    A scene's test split is its validation set. An object has none: every test_every-th image is in the test split. The
    paper trains on those, too.

    Args:
        category: LSUN's name of a scene or an object, such as bedroom, church_outdoor or cat.
        test_every: at least 2; for objects only.
        **options: see `EncodedImagesDataModule`; root holds the unpacked databases, such as bedroom_train_lmdb and
            bedroom_val_lmdb, or cat.
    """

    def __init__(self, *, category: str = "bedroom", test_every: int = 1000, **options: Any) -> None:
        super().__init__(**options)
        check_test_every(test_every)
        if not category or Path(category).name != category:
            raise UserError(f"data.category={category} is not a category of LSUN; use bedroom, church_outdoor or cat")
        self.category = category
        self.test_every = test_every

    def source(self, split: str) -> ImageSource:
        if (self.root / self.category).is_dir():  # an object, not a scene
            whole = Database.of(self._existing(self.category))
            return whole.at(places_of(split, len(whole), self.test_every, str(whole.path)))
        return Database.of(self._existing(f"{self.category}_{'train' if split == 'train' else 'val'}_lmdb"))

    def _existing(self, name: str) -> Path:
        if (self.root / name / "data.mdb").is_file():
            return self.root / name
        there = sorted(path.parent.name for path in self.root.glob("*/data.mdb"))
        raise UserError(
            f"there is no database {name} in {self.root.resolve()}, but {', '.join(there) or 'none at all'}; fetch it "
            "with LSUN's download.py and unzip it there, or name another data.root= or data.category="
        )
