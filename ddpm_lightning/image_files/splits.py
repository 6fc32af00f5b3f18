"""Recognises folders named after a split: train/, val/, test/ and their other usual names."""

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
NAME_ENDINGS = r"([ _.-]?(set|split|data|images?|imgs?|\d+|\(\d+\)|(?-i:[AB])))*"
"""Matches the endings that a split's name may have: train_set, val2017, Test-Images, trainA, "train (1)"."""


def split_named(folder: str) -> str | None:
    """Returns the split that a folder is named after, "train", "test" or "validation", or None."""
    return next(
        (split for split, names in NAMES.items() if re.fullmatch(f"({names}){NAME_ENDINGS}", folder, re.I)), None
    )


def by_split(root: Path, paths: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Sorts the images below root into "train" and "test" by the folders in root.

    The test split is a test folder, or else a validation folder. Files and folders beside the two are in neither.

    Args:
        root: the folder of the data set.
        paths: the images below it.

    Returns:
        The images of each split; {} if no folder in root is named after a split, or all images lie in one folder.

    Raises:
        UserError: the folders leave it unclear which images train and which test.
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
    """Raises UserError if folders anywhere below root are named after several splits; option is how to choose one."""
    splits: dict[str, Path] = {}
    for folder in dict.fromkeys(path.parent for path in paths):
        for part in (folder, *folder.parents)[: len(folder.relative_to(root).parts)]:
            if split := split_named(part.name):
                splits.setdefault(split, part)
    if len(splits) > 1:
        above = Path(os.path.commonpath([part.parent for part in splits.values()]))
        names = [part.relative_to(above).as_posix() for part in splits.values()]
        raise UserError(f"{above} has {_listed(names)}, which would be mixed; name one set with {option}")


def unused_images(root: Path, paths: Sequence[Path], splits: dict[str, tuple[Path, ...]]) -> dict[str, int]:
    """Returns how many images belong to none of the splits of `by_split`, by the folder that they lie in."""
    used = {part[0].relative_to(root).parts[0] for part in splits.values()}
    parts = _parts(root, paths).items() if splits else ()
    return {f"in {name or root}": len(part) for name, part in parts if name not in used}


def _parts(root: Path, paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Groups images by the folder in root that they lie in; "" for those in root itself."""
    parts: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        first, *rest = path.relative_to(root).parts
        parts[first if rest else ""].append(path)
    return dict(parts)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}/" if name else "images of its own" for name in names)
