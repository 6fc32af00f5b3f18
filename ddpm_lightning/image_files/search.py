"""Finds the images below a folder, through links too, and counts the files that are left out."""

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.image_files.decoding import suffixes

SYSTEM_FOLDERS = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
"""Folders of operating systems with thumbnails or deleted files, which are not searched."""


@dataclass(frozen=True)
class FoundImages:
    """The result of a search for images.

    Args:
        folder: the folder that was searched.
        paths: the images below it, in order of path.
        left_out: how many other files lie there, by kind, such as {".heic": 3}.
    """

    folder: Path
    paths: tuple[Path, ...]
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.paths)


BROKEN_LINK, REPEATED_LINK = "broken link", "link to a folder that is read already"
LINKS = {BROKEN_LINK: "broken links", REPEATED_LINK: "links to folders that are read already"}
"""The kinds of links that are left out, with their plurals."""


def list_counts(kinds: Counter[str], at_most: int = 8) -> str:
    """Returns the kinds with their counts as text, the most frequent first, at most `at_most` of them."""
    listed = [counted(count, kind, LINKS.get(kind, kind)) for kind, count in kinds.most_common(at_most)]
    return ", ".join(listed + [counted(len(kinds) - at_most, "more kind")] * (len(kinds) > at_most))


def find_images(folder: Path, option: str) -> FoundImages:
    """Finds all images below a folder that are not hidden.

    Args:
        folder: the folder.
        option: the option that named it, for messages.

    Raises:
        UserError: there is no such folder, or it holds no images.
    """
    if not folder.is_dir():
        raise UserError(f"{folder.resolve()} is not a folder; name the folder of images with {option}")
    files = {kind: [*paths] for kind, paths in _by_kind(folder).items()}
    paths = [path for kind in files.keys() & suffixes() for path in files[kind]]
    left_out = Counter({kind: len(each) for kind, each in files.items() if kind not in suffixes()})
    found = FoundImages(folder, tuple(sorted(map(Path, paths))), left_out)
    if not paths:
        reason = f" that can be read, but {list_counts(left_out)}" if left_out else ""
        raise UserError(f"{folder.resolve()} holds no images{reason}; name another folder with {option}")
    return found


def _by_kind(folder: Path) -> dict[str, list[str]]:
    """Returns every file below a folder by its kind: its suffix, or the fault of a link."""
    kinds: dict[str, list[str]] = {}
    waiting, read = deque([str(folder)]), set[str]()
    while waiting:
        here = waiting.popleft()
        if (real := os.path.realpath(here)) in read:  # a loop, or a second link to it
            kinds.setdefault(REPEATED_LINK, []).append(here)
            continue
        read.add(real)
        for entry in _entries(here):
            if entry.is_dir(follow_symlinks=False):
                waiting.appendleft(entry.path)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                waiting.append(entry.path)  # Links come after real folders.
            elif kind := _kind(entry):
                kinds.setdefault(kind, []).append(entry.path)
    return kinds


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Returns the entries of a folder that are not hidden, in order of name."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); allow it, or move it elsewhere") from error
    return (entry for entry in entries if not _is_hidden(entry.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def _kind(entry: os.DirEntry[str]) -> str | None:
    if os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file():
        return os.path.splitext(entry.name)[1].lower() or "without a suffix"
    return BROKEN_LINK if entry.is_symlink() else None
