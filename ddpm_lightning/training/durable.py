"""Files that outlive a kill and a power failure: written whole or not at all."""

import os
import platform
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
    with suppress(FileExistsError):
        path.hardlink_to(beside)


def sync_folder(folder: Path) -> None:
    """Makes what was renamed in the folder outlive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
