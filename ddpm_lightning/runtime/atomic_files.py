"""Files that outlive a kill and a power failure: written whole or not at all."""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_durably(path: Path, take_name: Callable[[Path, Path], object] = Path.replace) -> Iterator[BinaryIO]:
    """Gives a file beside this path to write to, which then takes its name, or is removed where something fails.

    take_name: how, from the one path to the other; `link_if_first` leaves a file that is there."""
    beside = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.tmp")  # no other process has this name
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        take_name(beside, path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def link_if_first(beside: Path, path: Path) -> None:
    """Gives the file this name, unless another process was first."""
    try:
        path.hardlink_to(beside)
    except OSError:  # another was first, or the file system has no hard links
        if not path.exists():
            beside.replace(path)


def link_or_copy(source: Path, target: Path) -> bool:
    """Gives the file a second name, or copies it where the file system has no hard links (exFAT, many network mounts).
    Returns whether it is a link. A copy that fails leaves nothing."""
    try:
        target.hardlink_to(source)
        return True
    except OSError:
        try:
            _copy(source, target)
        except OSError:
            target.unlink(missing_ok=True)
            raise
        return False


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())


def sync_folder(folder: Path) -> None:
    """Makes what was renamed in the folder outlive a power failure, on file systems that can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
