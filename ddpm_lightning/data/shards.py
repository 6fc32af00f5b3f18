"""Shards, as prepare.py writes them: tar files of encoded images with an index."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from ddpm_lightning.data.encoded import EncodedImagesDataModule, ImageSource, side_option
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.image_files.decoding import MAX_BYTES
from ddpm_lightning.typing import Labels

SHARD_LIST = "shards.json"
"""The file that lists the shards of a folder; it is written when all are complete."""

REPAIR_ADVICE = "copy the folder again, or delete that shard's .tar and .json and give prepare.py's command again"


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The index of one tar file.

    Args:
        offsets: the first byte of each image in the tar file.
        lengths: the bytes of each image.
        crc32: the CRC-32 of each image.
        broken: a message for each source image that could not be read and was left out.
        labels: the class of each image; None if they were not asked for.
    """

    offsets: list[int]
    lengths: list[int]
    crc32: list[int]
    broken: list[str]
    labels: list[int] | None = None

    @property
    def end(self) -> int:
        """The least size of the tar file in bytes."""
        return self.offsets[-1] + self.lengths[-1] if self.offsets else 0


def index_path(tar: Path) -> Path:
    """Returns the path of a tar file's index."""
    return tar.with_suffix(".json")


def read_index(tar: Path) -> ShardIndex:
    """Reads the index of a tar file. Raises UserError if the index or the tar file is incomplete."""
    index = ShardIndex(**_read(index_path(tar), _check_index))
    there = tar.stat().st_size if tar.is_file() else 0
    if there < index.end:
        raise UserError(f"{tar} has {there} bytes, and its images need {index.end}; {REPAIR_ADVICE}")
    return index


@dataclass(frozen=True, kw_only=True)
class ShardList:
    """The contents of a complete folder of shards.

    Args:
        side: the size of the images: one number for a square, or (height, width).
        channels: the channels of the images.
        splits: for "train" and "test", the number of images in each tar file, by its name.
        class_names: the names of the classes; None if the shards hold no labels.
    """

    side: int | tuple[int, int]
    channels: int
    splits: dict[str, dict[str, int]]
    class_names: list[str] | None = None


def to_json(part: ShardIndex | ShardList) -> bytes:
    """Returns the content of the file that keeps an index or a list."""
    known = {name: value for name, value in asdict(part).items() if value is not None}
    return (json.dumps(known) + "\n").encode()


def read_list(folder: Path) -> ShardList:
    """Reads the list of a folder of shards. Raises UserError if the folder is incomplete, or holds no shards."""
    if not (folder / SHARD_LIST).is_file():
        begun = any(folder.glob("*.tar"))
        advice = "it is not finished, so give the same prepare.py command again" if begun else "prepare.py makes them"
        raise UserError(f"{folder.resolve()} has no {SHARD_LIST}, which lists finished shards; {advice}")
    content = _read(folder / SHARD_LIST, _check_list)
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
    offsets, lengths = _whole_numbers(content["offsets"], 2**63), _whole_numbers(content["lengths"], MAX_BYTES)
    labels = _whole_numbers(content.get("labels", [0] * len(offsets)), 2**31)
    if not len(offsets) == len(lengths) == len(_whole_numbers(content["crc32"], 2**32)) == len(labels):
        raise ValueError("its lists differ in length")
    known = sorted(content.keys() - {"labels"})
    if known != ["broken", "crc32", "lengths", "offsets"] or not isinstance(content["broken"], list):
        raise ValueError("it holds something else")
    if any(next_ < begin + length for begin, length, next_ in zip(offsets, lengths, offsets[1:], strict=False)):
        raise ValueError("its images overlap")


def _check_list(content: dict[str, Any]) -> None:
    known = sorted(content.keys() - {"class_names"})
    if known != ["channels", "side", "splits"] or sorted(content["splits"]) != ["test", "train"]:
        raise ValueError("it holds something else")
    names = content.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its classes have no names")
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


ShardTable = Int64[np.ndarray, "n 4"]
"""One row per image: shard, offset, length, CRC-32."""


class ShardsDataModule(EncodedImagesDataModule):
    """A folder of shards, which trains exactly as the data set it was made from.

    Args:
        **options: see `EncodedImagesDataModule`; root is the folder that prepare.py wrote, and side and channels are
            those it was written with.
    """

    def source(self, split: str) -> ImageSource:
        self._check_shape(read_list(self.root))
        return ShardSource.of(self._tars(split))

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # read from the folder when first asked for
        """The names of the classes. Raises UserError if the shards hold no labels."""
        names = read_list(self.root).class_names
        if not names:
            raise UserError(f"the shards in {self.root} hold no labels; write others with prepare.py labels=true")
        return tuple(names)

    def labels(self, split: str) -> Labels:
        """Returns the class of each image of a split: [n]."""
        found = [label for tar in self._tars(split) for label in read_index(tar).labels or ()]
        if len(found) != sum(self._tars(split).values()) or max(found, default=0) >= len(self.class_names):
            raise UserError(f"{self.root} lacks labels of the {split} split; {REPAIR_ADVICE}")
        return torch.tensor(found, dtype=torch.int64)

    def _tars(self, split: str) -> dict[Path, int]:
        """Returns the tar files of a split, with the number of images in each."""
        return {self.root / name: n for name, n in read_list(self.root).splits[split].items()}

    def _check_shape(self, shards: ShardList) -> None:
        ours, theirs = (side_option(self.side), str(self.channels)), (side_option(shards.side), str(shards.channels))
        for name, mine, there in zip(("side", "channels"), ours, theirs, strict=True):
            if mine != there:
                raise UserError(
                    f"data.{name}={mine}, but the shards in {self.root} have {there}; say data.{name}={there}"
                )


@dataclass(frozen=True, eq=False)
class ShardSource:
    """Encoded images in tar files. No file stays open, so any number of them and of processes work.

    Args:
        tars: the tar files.
        table: the place of each image, [n, 4].
    """

    tars: tuple[Path, ...]
    table: ShardTable

    @classmethod
    def of(cls, tars: Mapping[Path, int]) -> "ShardSource":
        """Reads the indices of tar files.

        Args:
            tars: the tar files, with the number of images in each.

        Raises:
            UserError: an index is missing or damaged, or holds another number of images.
        """
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
            raise UserError(f"{self.name(place)} is damaged: its checksum differs; {REPAIR_ADVICE}")
        return content

    def fingerprint(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.table[:, 2:]).tobytes()).hexdigest()

    def identity(self) -> str:
        return self.fingerprint()


def _rows(number: int, tar: Path, n: int) -> ShardTable:
    index = read_index(tar)
    if len(index.offsets) != n:
        raise UserError(f"{index_path(tar)} lists {len(index.offsets)} images, and {SHARD_LIST} {n}; {REPAIR_ADVICE}")
    return np.array(([number] * n, index.offsets, index.lengths, index.crc32), np.int64).reshape(4, n).T
