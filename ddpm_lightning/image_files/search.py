"""Finding the images below a folder. Links are followed; what is left out is counted."""

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files.decoding import suffixes

NOT_THE_USERS = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
"""Folders that systems make beside the user's own, with thumbnails or deleted files in them."""


@dataclass(frozen=True)
class FoundImages:
    """The images below a folder, in order of path, and how many other things lie there, by kind: {".heic": 3}."""

    folder: Path
    paths: tuple[Path, ...]
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.paths)


def counted(kinds: Counter[str], at_most: int = 8) -> str:
    """The kinds with their counts, the most frequent first."""
    listed = [f"{count} {kind}" for kind, count in kinds.most_common(at_most)]
    return ", ".join(listed + [f"{len(kinds) - at_most} more kinds"] * (len(kinds) > at_most))


def find_images(folder: Path, option: str) -> FoundImages:
    """The images below the folder, but for hidden ones. Raises UserError, naming the option, where there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder.resolve()} is no folder; name the folder of images with {option}")
    files = {kind: [*paths] for kind, paths in _by_kind(folder).items()}
    paths = [path for kind in files.keys() & suffixes() for path in files[kind]]
    left_out = Counter({kind: len(each) for kind, each in files.items() if kind not in suffixes()})
    found = FoundImages(folder, tuple(sorted(map(Path, paths))), left_out)
    if not paths:
        reason = f" that can be read, but {counted(left_out)}" if left_out else ""
        raise UserError(f"{folder.resolve()} holds no images{reason}; name another folder with {option}")
    return found


def _by_kind(folder: Path) -> dict[str, list[str]]:
    """Every file below the folder, by its kind: a suffix, or what is wrong with a link."""
    kinds: dict[str, list[str]] = {}
    waiting, read = deque([str(folder)]), set[str]()
    while waiting:
        here = waiting.popleft()
        if (real := os.path.realpath(here)) in read:  # a loop, or a second link
            kinds.setdefault("links to folders that are read already", []).append(here)
            continue
        read.add(real)
        for entry in _entries(here):
            if entry.is_dir(follow_symlinks=False):
                waiting.appendleft(entry.path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                waiting.append(entry.path)  # after all that are no links
            elif kind := _kind(entry):
                kinds.setdefault(kind, []).append(entry.path)
    return kinds


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, in order of name, but for what is hidden."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); allow it, or move it elsewhere") from error
    return (entry for entry in entries if not _is_hidden(entry.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in NOT_THE_USERS


def _kind(entry: os.DirEntry[str]) -> str | None:
    if os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file():
        return os.path.splitext(entry.name)[1].lower() or "without a suffix"
    return "broken links" if entry.is_symlink() else None
