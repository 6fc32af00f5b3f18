"""LMDB databases in LSUN's format: an encoded image under each key."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from ddpm_lightning.data.held_out import Places
from ddpm_lightning.errors import UserError, shown

Keys = Shaped[np.ndarray, "n"]
"""All keys in one array; a million Python objects would be copied into each reading process."""


@dataclass(frozen=True, eq=False)
class Database:
    """Encoded images in a database; each process opens it for itself.

    Args:
        path: the database's folder.
        keys: the images' keys, in their order in the data set, [n].
    """

    path: Path
    keys: Keys

    @classmethod
    def of(cls, path: Path) -> "Database":
        """Returns all images of a database. It reads only the keys. Raises UserError if it is damaged or empty."""
        with _transaction(path) as transaction, transaction.cursor() as cursor:
            keys = np.array(list(cursor.iternext(values=False)), dtype=np.bytes_)
        if not len(keys):
            raise UserError(f"{path} holds no images; name another database")
        return cls(path, keys)

    def at(self, places: Places) -> "Database":
        """Returns the images at some places."""
        return Database(self.path, self.keys[places])

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, place: int) -> str:
        return f"{self.path}: {self.keys[place].decode(errors='replace')}"

    def read(self, place: int) -> bytes:
        with _transaction(self.path) as transaction:
            content = transaction.get(bytes(self.keys[place]))
        if content is None:
            raise UserError(f"{self.name(place)} is no longer there; the database has changed, so start again")
        return bytes(content)

    def fingerprint(self) -> str:
        file = (self.path / "data.mdb").stat()
        described = repr((str(self.path), file.st_size, file.st_mtime_ns)).encode()
        return hashlib.sha256(described + self.keys.tobytes()).hexdigest()

    def identity(self) -> str:
        return hashlib.sha256(self.keys.tobytes()).hexdigest()


@contextmanager
def _transaction(path: Path) -> Iterator[Any]:
    """Yields a read transaction, with LMDB's errors as UserError."""
    lmdb = _library()
    try:
        with _environment(path).begin() as transaction:
            yield transaction
    except lmdb.Error as error:
        raise UserError(f"{path} cannot be read as an LMDB database ({shown(error)}); unpack it again") from error


@lru_cache(maxsize=16)
def _environment(path: Path) -> Any:
    """Opens a database, once per process. Raises UserError if its file is truncated."""
    environment = _library().open(str(path), readonly=True, lock=False, readahead=False, create=False)
    claimed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    there = (path / "data.mdb").stat().st_size
    if there < claimed:  # LMDB would read beyond the end, which kills the process.
        environment.close()
        raise UserError(f"{path / 'data.mdb'} has {there} of its {claimed} bytes; unpack or fetch it again")
    return environment


os.register_at_fork(before=_environment.cache_clear)  # An open database must not be used in another process.


def _library() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise UserError("LSUN's databases need the package lmdb: pip install 'ddpm-lightning[lmdb]'") from error
    return lmdb
