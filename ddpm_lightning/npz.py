"""Reading .npz files of others, and writing ours whole."""

import os
import platform
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ddpm_lightning.errors import UserError


def read_npz(path: Path, keys: Sequence[str], advice: str) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file holds. Raises UserError where it holds none, or cannot be read."""
    try:
        with np.load(path) as file:
            arrays = {key: file[key] for key in keys if key in file}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        reason = "it is none" if "pickle" in str(error) else str(error)  # NumPy would advise to run what is in it
        raise UserError(f"{path} cannot be read as an .npz ({reason}); {advice}") from error
    if not arrays:
        raise UserError(f"{path} holds none of the arrays {', '.join(keys)}; {advice}")
    return arrays


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a path beside this one to write to, which then takes its name: a reader sees a whole file or none."""
    beside = path.with_name(f"{path.stem}.{platform.node()}.{os.getpid()}.tmp.npz")
    yield beside
    beside.replace(path)
