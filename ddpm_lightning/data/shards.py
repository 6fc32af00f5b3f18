"""Images in shards, as prepare.py makes them: tar files of encoded images, each found at once by its place."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ddpm_lightning.data.encoded import EncodedImagesDataModule, ImageSource, typed
from ddpm_lightning.data.shard_index import AGAIN, LIST, ShardList, index_of, read_index, read_list
from ddpm_lightning.errors import UserError

Table = Int64[np.ndarray, "n 4"]
"""A row an image: shard, offset, length, CRC-32."""


class ShardsDataModule(EncodedImagesDataModule):
    """root: the folder that prepare.py made. side, channels: those that it was made for.

    Order, flips and every process's share are those of the data that the shards were made of.
    """

    def source(self, split: str) -> ImageSource:
        shards = read_list(self.root)
        self._check_shape(shards)
        return Shards.of({self.root / name: n for name, n in shards.splits[split].items()})

    def _check_shape(self, shards: ShardList) -> None:
        ours, theirs = (typed(self.side), str(self.channels)), (typed(shards.side), str(shards.channels))
        for name, mine, there in zip(("side", "channels"), ours, theirs, strict=True):
            if mine != there:
                raise UserError(
                    f"data.{name}={mine}, but the shards in {self.root} have {there}; say data.{name}={there}"
                )


@dataclass(frozen=True, eq=False)
class Shards:
    """Encoded images in tar files, of which none stays open: any number may be read from, in any process."""

    tars: tuple[Path, ...]
    table: Table

    @classmethod
    def of(cls, tars: Mapping[Path, int]) -> "Shards":
        """Tar files with so many images, by their indices. Raises UserError where one is missing or damaged."""
        rows = [_rows(number, tar, n) for number, (tar, n) in enumerate(tars.items())]
        return cls(tuple(tars), np.concatenate(rows))

    def __len__(self) -> int:
        return len(self.table)

    def name(self, place: int) -> str:
        shard, offset, _, _ = self.table[place].tolist()
        return f"{self.tars[shard]} (at byte {offset})"

    def read(self, place: int) -> bytes:
        shard, offset, length, crc32 = self.table[place].tolist()
        try:
            with self.tars[shard].open("rb", buffering=0) as tar:
                tar.seek(offset)
                content = bytes(tar.read(length))
        except OSError as error:
            raise UserError(f"{self.tars[shard]} cannot be read ({error.strerror}); {AGAIN}") from error
        if zlib.crc32(content) != crc32:
            raise UserError(f"{self.name(place)} is damaged, for its checksum is another; {AGAIN}")
        return content

    def fingerprint(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.table[:, 2:]).tobytes()).hexdigest()

    def identity(self) -> str:
        return self.fingerprint()


def _rows(number: int, tar: Path, n: int) -> Table:
    index = read_index(tar)
    if len(index.offsets) != n:
        raise UserError(f"{index_of(tar)} tells of {len(index.offsets)} images, and {LIST} of {n}; {AGAIN}")
    return np.array(([number] * n, index.offsets, index.lengths, index.crc32), np.int64).reshape(4, n).T
