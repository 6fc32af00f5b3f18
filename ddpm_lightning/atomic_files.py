"""Writes files atomically: after a kill or a power failure the old file is there or the new one, and both are whole."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(
    path: Path, *, shared: bool = False, rename: Callable[[Path, Path], object] = Path.replace
) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path`, and renames it to `path` when the block ends and its data is on disk.

    If the block raises, the temporary file is removed and `path` keeps its old content.

    Args:
        path: The file to write.
        shared: Whether several processes may write this file at once. Each then has a temporary file of its own. Else
            the name is always `path` with `.tmp` after it, so the next write replaces what a killed process left.
        rename: Called with the temporary path and `path`; `rename_if_absent` keeps a file that is there.
    """
    owner = f"{platform.node()}.{os.getpid()}." if shared else ""
    temporary = path.with_name(f"{path.name}.{owner}tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        rename(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, as UTF-8 and with the line ends that the text has."""
    with atomic_write(path) as file:
        file.write(text.encode())


def rename_if_absent(temporary: Path, path: Path) -> None:
    """Renames a file unless `path` exists: of several processes, the first one wins."""
    try:
        path.hardlink_to(temporary)
    except OSError:  # `path` exists, or the file system has no hard links
        if not path.exists():
            temporary.replace(path)


def replace_by_link(path: Path, source: Path) -> bool:
    """Replaces `path` atomically by a hard link to `source`, which keeps its own name.

    Where the file system has no hard links (exFAT, many network mounts), `path` becomes a copy.

    Returns:
        Whether it is a link.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError:
        with source.open("rb") as old, atomic_write(path) as new:
            shutil.copyfileobj(old, new)
        return False
    temporary.replace(path)
    return True


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power failure, where the file system can sync folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
