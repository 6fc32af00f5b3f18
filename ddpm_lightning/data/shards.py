"""Images in shards, as prepare.py makes them: tar files of encoded images, each found at once by its place."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from ddpm_lightning.data.encoded import EncodedImagesDataModule, ImageSource, typed
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.image_files.decoding import MOST_BYTES

LIST = "shards.json"
"""What says that a folder of shards is finished, and which they are."""

REPAIR_ADVICE = "copy the folder again, or delete that shard's .tar and .json and give prepare.py's command again"


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """One tar file: where each image begins, its length in bytes and CRC-32; and a sentence for each that is broken."""

    offsets: list[int]
    lengths: list[int]
    crc32: list[int]
    broken: list[str]

    @property
    def end(self) -> int:
        """The bytes that the tar file must have, at least."""
        return self.offsets[-1] + self.lengths[-1] if self.offsets else 0


def index_of(tar: Path) -> Path:
    """Where the index of a tar file lies."""
    return tar.with_suffix(".json")


def read_index(tar: Path) -> ShardIndex:
    """The index of a tar file. Raises UserError where it, or the tar file, is not whole."""
    index = ShardIndex(**_read(index_of(tar), _check_index))
    there = tar.stat().st_size if tar.is_file() else 0
    if there < index.end:
        raise UserError(f"{tar} has {there} bytes, and its images need {index.end}; {REPAIR_ADVICE}")
    return index


@dataclass(frozen=True, kw_only=True)
class ShardList:
    """A finished folder: the images' side (or height and width) and channels, and of each split the tar files with the
    number of images."""

    side: int | tuple[int, int]
    channels: int
    splits: dict[str, dict[str, int]]


def text_of(part: ShardIndex | ShardList) -> bytes:
    """As it is kept in its file."""
    return (json.dumps(asdict(part)) + "\n").encode()


def read_list(folder: Path) -> ShardList:
    """What a folder of shards holds. Raises UserError where it is none, or not finished."""
    if not (folder / LIST).is_file():
        begun = any(folder.glob("*.tar"))
        mend = "it is not finished, so give the same prepare.py command again" if begun else "prepare.py makes them"
        raise UserError(f"{folder.resolve()} has no {LIST}, which lists finished shards; {mend}")
    content = _read(folder / LIST, _check_list)
    side = content["side"]
    return ShardList(**{**content, "side": tuple(side) if isinstance(side, list) else side})


def _read(path: Path, check: Any) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        check(content)
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise UserError(f"{path} is damaged or missing ({shown(error)}); {REPAIR_ADVICE}") from error
    return dict(content)


def _check_index(content: dict[str, Any]) -> None:
    offsets, lengths = _whole_numbers(content["offsets"], 2**63), _whole_numbers(content["lengths"], MOST_BYTES)
    if not len(offsets) == len(lengths) == len(_whole_numbers(content["crc32"], 2**32)):
        raise ValueError("its lists differ in length")
    if sorted(content) != ["broken", "crc32", "lengths", "offsets"] or not isinstance(content["broken"], list):
        raise ValueError("it holds something else")
    if any(next_ < begin + length for begin, length, next_ in zip(offsets, lengths, offsets[1:], strict=False)):
        raise ValueError("its images overlap")


def _check_list(content: dict[str, Any]) -> None:
    if sorted(content) != ["channels", "side", "splits"] or sorted(content["splits"]) != ["test", "train"]:
        raise ValueError("it holds something else")
    side = content["side"]
    _whole_numbers([*side, content["channels"]] if isinstance(side, list) else [side, content["channels"]], 2**63)
    if isinstance(side, list) and len(side) != 2:
        raise ValueError("its images have no height and width")
    for shards in content["splits"].values():
        _whole_numbers(list(shards.values()), 2**63)
        if any(Path(name).name != name for name in shards):
            raise ValueError("its shards lie elsewhere")
        if not any(shards.values()):
            raise ValueError("a split has no images")


def _whole_numbers(values: Any, below: int) -> Sequence[int]:
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < below for value in values):
        raise ValueError("numbers are missing")
    return values


Table = Int64[np.ndarray, "n 4"]
"""A row an image: shard, offset, length, CRC-32."""


class ShardsDataModule(EncodedImagesDataModule):
    """root: the folder that prepare.py made. side, channels: those that it was made for.

    Order, flips and every process's share are those of the data that the shards were made of.
    """

    def source(self, split: str) -> ImageSource:
        shards = read_list(self.root)
        self._check_shape(shards)
        return ShardSource.of({self.root / name: n for name, n in shards.splits[split].items()})

    def _check_shape(self, shards: ShardList) -> None:
        ours, theirs = (typed(self.side), str(self.channels)), (typed(shards.side), str(shards.channels))
        for name, mine, there in zip(("side", "channels"), ours, theirs, strict=True):
            if mine != there:
                raise UserError(
                    f"data.{name}={mine}, but the shards in {self.root} have {there}; say data.{name}={there}"
                )


@dataclass(frozen=True, eq=False)
class ShardSource:
    """Encoded images in tar files, of which none stays open: any number may be read from, in any process."""

    tars: tuple[Path, ...]
    table: Table

    @classmethod
    def of(cls, tars: Mapping[Path, int]) -> "ShardSource":
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
            raise UserError(f"{self.tars[shard]} cannot be read ({error.strerror}); {REPAIR_ADVICE}") from error
        if zlib.crc32(content) != crc32:
            raise UserError(f"{self.name(place)} is damaged, for its checksum is another; {REPAIR_ADVICE}")
        return content

    def fingerprint(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.table[:, 2:]).tobytes()).hexdigest()

    def identity(self) -> str:
        return self.fingerprint()


def _rows(number: int, tar: Path, n: int) -> Table:
    index = read_index(tar)
    if len(index.offsets) != n:
        raise UserError(f"{index_of(tar)} tells of {len(index.offsets)} images, and {LIST} of {n}; {REPAIR_ADVICE}")
    return np.array(([number] * n, index.offsets, index.lengths, index.crc32), np.int64).reshape(4, n).T
