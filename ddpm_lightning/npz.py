"""Reading .npz files of others, and writing ours whole."""

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.errors import UserError, shown

ROOM = 2**30
"""Bytes that any file may inflate to; to more, only as many times its size:"""
RATIO = 100


def read_npz(path: Path, keys: Sequence[str] | None, advice: str) -> dict[str, np.ndarray]:
    """Those of the named arrays that the file holds; all of them where keys is None. Raises UserError where it holds
    none, or cannot be read."""
    try:
        _check_inflated(path)
        with np.load(path) as file:
            arrays = {key: file[key] for key in (file.files if keys is None else keys) if key in file}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("it holds something else by that name")
    except Exception as error:  # a damaged file can raise nearly anything
        reason = "it is none" if "pickle" in str(error) else shown(error)  # NumPy would advise to run what is in it
        raise UserError(f"{path} cannot be read as an .npz ({reason}); {advice}") from error
    if not arrays:
        raise UserError(f"{path} holds none of the arrays {', '.join(keys or ['at all'])}; {advice}")
    return arrays


def _check_inflated(path: Path) -> None:
    """Raises ValueError where a small file would fill the memory."""
    with zipfile.ZipFile(path) as file:
        inflated = sum(part.file_size for part in file.infolist())
    if inflated > max(ROOM, RATIO * path.stat().st_size):
        raise ValueError(f"its {path.stat().st_size} bytes claim to inflate to {inflated}")


def write_stream(path: Path, name: str, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """Writes parts of an array of this shape, uint8, one after another: the bytes of `np.savez_compressed` without the
    whole array in memory. The file appears when it is complete."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with (
        atomic_write(path) as target,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file,
        file.open(f"{name}.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(part.tobytes())
