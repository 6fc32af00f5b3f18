"""What lies beside tar files of images so that any image is found at once: a list of the shards, and of the places in
each. Others read the tar files without (WebDataset does)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.image_files.decoding import MOST_BYTES

LIST = "shards.json"
"""What says that a folder of shards is finished, and which they are."""

AGAIN = "copy the folder again, or delete that shard's .tar and .json and give prepare.py's command again"


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
        raise UserError(f"{tar} has {there} bytes, and its images need {index.end}; {AGAIN}")
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
        content = json.loads(path.read_text())
        check(content)
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise UserError(f"{path} is damaged or missing ({shown(error)}); {AGAIN}") from error
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
