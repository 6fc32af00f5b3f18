"""What a folder's images are, by the headers of their files: modes, sizes, and which can be transparent."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files.decoding import opened
from ddpm_lightning.image_files.search import FoundImages, counted

AT_MOST = 1000
"""Files that are looked at, evenly chosen: opening a file takes a millisecond on a network's disk."""


@dataclass
class Look:
    """The headers of some image files. refused: a sentence for each that cannot be read."""

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
        looked = self.modes.total() + len(self.refused)
        only = "" if looked == self.of else f"of {looked} looked at: "
        return only + ", ".join(filter(None, [*modes, sizes, refused]))


def look_at(paths: Sequence[Path]) -> Look:
    """Opens some of the files, evenly chosen, without decoding them."""
    look = Look(of=len(paths))
    for path in paths[:: -(-len(paths) // AT_MOST)]:
        try:
            with opened(path, str(path)) as image:
                look.modes[image.mode] += 1
                look.sizes.add(image.size)
                look.transparent += image.has_transparency_data
        except UserError as error:
            look.refused.append(str(error))
    return look


def described(
    what: str, found: FoundImages, look: Look, background: str | None, unused: Mapping[str, int] | None = None
) -> str:
    """One line on the images of a folder.

    what: how it begins. background: None keeps transparency. unused: images that are not read, by where they lie.
    """
    parts = [f"{what} ({look})"]
    if look.transparent:
        how = "which is kept" if background is None else f"over background={background}"
        parts.append(f"{look.transparent} can be transparent, {how}")
    if left_out := Counter(unused or {}) + found.left_out:
        parts.append(f"left out: {counted(left_out)}")
    return "; ".join(parts)
