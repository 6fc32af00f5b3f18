"""Folders that are named after a split: train/, val/, test/ and how else people call them."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ddpm_lightning.errors import UserError

NAMES = {
    "train": "train|training",
    "test": "test|testing|tests",
    "validation": "val|valid|validation|validate|dev|development|eval|evaluation|holdout",
}
MORE = r"([ _.-]?(set|split|data|images?|imgs?|\d+|\(\d+\)|(?-i:[AB])))*"
"""What may follow: train_set, val2017, Test-Images, trainA, "train (1)"."""


def split_named(folder: str) -> str | None:
    """The split that a folder's name says: "train", "test" or "validation"."""
    return next((split for split, names in NAMES.items() if re.fullmatch(f"({names}){MORE}", folder, re.I)), None)


def by_split(root: Path, paths: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """The images below root by split: "train" and "test", or nothing where no folder in root is a split.

    A test folder tests, else a validation folder; further files and folders beside the two are in neither. Raises
    UserError where it is unclear what trains and what tests.
    """
    parts = _parts(root, paths)
    named = {split: [name for name in parts if split_named(name) == split] for split in NAMES}
    if not any(named.values()) or len(parts) == 1:
        check_no_splits(root, paths, "data.root=")
        return {}
    for split, names in named.items():
        if len(names) > 1:
            raise UserError(f"{root} has {_listed(names)}, which are all {split} folders; keep one of them there")
    tests = named["test"] or named["validation"]
    if not named["train"] or not tests:
        known = [*named["train"], *tests]
        others = [name for name in parts if name not in known]
        raise UserError(
            f"{root} has {_listed(known)} beside {_listed(others)}, so it is unclear what trains and what tests; name "
            "these folders train and test (or val), move the others elsewhere, or name one of them with data.root="
        )
    return {"train": tuple(parts[named["train"][0]]), "test": tuple(parts[tests[0]])}


def check_no_splits(root: Path, paths: Sequence[Path], option: str) -> None:
    """Raises UserError where folders, however deep and wherever below root, are of several splits."""
    splits: dict[str, Path] = {}
    for folder in dict.fromkeys(path.parent for path in paths):
        for part in (folder, *folder.parents)[: len(folder.relative_to(root).parts)]:
            if split := split_named(part.name):
                splits.setdefault(split, part)
    if len(splits) > 1:
        above = Path(os.path.commonpath([part.parent for part in splits.values()]))
        names = [part.relative_to(above).as_posix() for part in splits.values()]
        raise UserError(f"{above} has {_listed(names)}, which would be mixed; name one set with {option}")


def in_neither(root: Path, paths: Sequence[Path], splits: dict[str, tuple[Path, ...]]) -> dict[str, int]:
    """How many images in which folder belong to none of the splits that by_split found."""
    used = {part[0].relative_to(root).parts[0] for part in splits.values()}
    parts = _parts(root, paths).items() if splits else ()
    return {f"images in {name or root}": len(part) for name, part in parts if name not in used}


def _parts(root: Path, paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The images by the folder in root that they lie in; "" for those in root itself."""
    parts: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        first, *rest = path.relative_to(root).parts
        parts[first if rest else ""].append(path)
    return dict(parts)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}/" if name else "images of its own" for name in names)
