"""Reads .npz files from any source, and writes complete ones."""

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.errors import UserError, shown

INFLATED_BYTES = 2**30
"""The bytes that any file may inflate to."""

INFLATION = 100
"""How many times its own size a file may inflate to, if that is more than INFLATED_BYTES."""


def read_npz(path: Path, keys: Sequence[str] | None, advice: str) -> dict[str, np.ndarray]:
    """Reads arrays of an .npz file into memory, without running code that a pickle in it may hold.

    Args:
        path: the file.
        keys: the names of the wanted arrays; None takes all.
        advice: what the user can do about a bad file, for the message.

    Returns:
        The wanted arrays that the file holds, at least one.

    Raises:
        UserError: the file cannot be read, holds none of the arrays, or would inflate to fill the memory.
    """
    try:
        _check_inflated(path)
        with np.load(path) as file:
            arrays = {key: file[key] for key in (file.files if keys is None else keys) if key in file}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("something in it is not an array")
    except Exception as error:  # a damaged file can raise nearly anything
        reason = "it is not one" if "pickle" in str(error) else shown(error)  # NumPy advises to allow pickles
        raise UserError(f"{path} cannot be read as an .npz ({reason}); {advice}") from error
    if not arrays:
        raise UserError(f"{path} holds none of the arrays {', '.join(keys or ['at all'])}; {advice}")
    return arrays


def _check_inflated(path: Path) -> None:
    """Raises ValueError if a small file would fill the memory."""
    with zipfile.ZipFile(path) as file:
        inflated = sum(part.file_size for part in file.infolist())
    if inflated > max(INFLATED_BYTES, INFLATION * path.stat().st_size):
        raise ValueError(f"its {path.stat().st_size} bytes claim to inflate to {inflated}")


def write_stream(path: Path, name: str, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """Writes a uint8 array part by part, as `np.savez_compressed` would, without the whole array in memory.

    Args:
        path: the .npz file; it appears when it is complete.
        name: the array's name in it.
        shape: the shape of the whole array.
        parts: uint8 arrays that make up the whole when joined along the first axis.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with (
        atomic_write(path) as target,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file,
        file.open(f"{name}.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(part.tobytes())
