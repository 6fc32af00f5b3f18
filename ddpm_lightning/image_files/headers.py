"""Reads the headers of image files: modes, sizes, and transparency."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files.decoding import opened
from ddpm_lightning.image_files.search import FoundImages, list_counts

MAX_HEADERS = 1000
"""The most files that are opened; each takes a millisecond on a network disk."""


@dataclass
class Headers:
    """A summary of the headers of some image files.

    Args:
        of: the number of all files.
        modes: how many files have each Pillow mode.
        sizes: the sizes that occur, (width, height).
        transparent: how many can have transparent pixels.
        refused: a message for each file that cannot be read.
    """

    of: int
    modes: Counter[str] = field(default_factory=Counter)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    transparent: int = 0
    refused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        modes = [f"{count} {mode}" for mode, count in self.modes.most_common()]
        ends = [min(self.sizes, key=math.prod), max(self.sizes, key=math.prod)] if self.sizes else []
        sizes = " to ".join(dict.fromkeys(f"{width}×{height}" for width, height in ends))
        refused = f"{len(self.refused)} unreadable" if self.refused else ""
        opened_files = self.modes.total() + len(self.refused)
        only = "" if opened_files == self.of else f"of {opened_files} looked at: "
        return only + ", ".join(filter(None, [*modes, sizes, refused]))


def read_headers(paths: Sequence[Path]) -> Headers:
    """Reads the headers of at most MAX_HEADERS of the files, evenly spaced, without decoding them."""
    headers = Headers(of=len(paths))
    for path in paths[:: -(-len(paths) // MAX_HEADERS)]:
        try:
            with opened(path, str(path)) as image:
                headers.modes[image.mode] += 1
                headers.sizes.add(image.size)
                headers.transparent += image.has_transparency_data
        except UserError as error:
            headers.refused.append(str(error))
    return headers


def describe_images(
    what: str, found: FoundImages, headers: Headers, background: str | None, unused: Mapping[str, int] | None = None
) -> str:
    """Returns one line that describes the images of a folder.

    Args:
        what: the start of the line.
        found: the images and what else lies in the folder.
        headers: the headers of some of the images.
        background: the colour under transparent pixels; None keeps their transparency.
        unused: how many images are not read, by where they lie.
    """
    parts = [f"{what} ({headers})"]
    if headers.transparent:
        how = "which is kept" if background is None else f"over background={background}"
        parts.append(f"{headers.transparent} can be transparent, {how}")
    if left_out := Counter(unused or {}) + found.left_out:
        parts.append(f"left out: {list_counts(left_out)}")
    return "; ".join(parts)
