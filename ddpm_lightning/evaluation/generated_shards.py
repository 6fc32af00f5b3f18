"""Stores generated images in shards on disk, so that an interrupted command resumes."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.errors import UserError, check_at_most, check_whole, counted
from ddpm_lightning.npz import read_npz
from ddpm_lightning.runtime.recipe import RECIPE, check_recipe, open_folder
from ddpm_lightning.typing import Pixels

NAME = re.compile(r"(?P<first>\d{6,})-(?P<last>\d{6,})\.npz")


@dataclass(frozen=True)
class GeneratedShards:
    """A folder of generated images, with one .npz file per range of image numbers, such as 000000-000255.npz.

    The array `images` in each file is uint8, [n, c, h, w].

    Args:
        folder: the folder, which `open` creates.
        option: the option that names the folder, for error messages.
    """

    folder: Path
    option: str = "generated="

    def open(self, recipe: Mapping[str, Any]) -> None:
        """Creates the folder if it is missing. Raises UserError if that fails, or it holds images of another recipe."""
        open_folder(self.folder, recipe, self.option, holds_images=bool(self.ranges()))

    def check(self, recipe: Mapping[str, Any]) -> None:
        """Raises UserError if the folder exists and holds images of another recipe."""
        check_recipe(self.folder, recipe, self.option)

    def ranges(self) -> list[range]:
        """Returns the image numbers of each shard, in order."""
        names = (NAME.fullmatch(path.name) for path in self.folder.glob("*.npz"))
        found = [range(int(name["first"]), int(name["last"]) + 1) for name in names if name]
        return sorted(found, key=lambda numbers: (numbers.start, numbers.stop))

    def missing(self, wanted: range, at_once: int) -> list[range]:
        """Returns the wanted numbers that no shard has, as ranges of at most `at_once`."""
        there = {n for numbers in self.ranges() for n in range(numbers.start, min(wanted.stop, numbers.stop))}
        runs: list[range] = []
        for number in (number for number in wanted if number not in there):
            if runs and runs[-1].stop == number and len(runs[-1]) < at_once:
                runs[-1] = range(runs[-1].start, number + 1)
            else:
                runs.append(range(number, number + 1))
        return runs

    def write(self, numbers: range, images: Pixels) -> None:
        """Writes a shard atomically. `images` are uint8, [n, c, h, w]."""
        with atomic_write(self._path(numbers), shared=True) as file:
            np.savez_compressed(file, images=images.cpu().numpy())

    def read(self, n: int, first: int = 0) -> Iterator[Pixels]:
        """Yields images first..n−1 in order, shard by shard, each once even if shards overlap.

        Raises:
            UserError: if an image is missing, or a shard is damaged.
        """
        following = first
        for numbers in self.ranges():
            wanted = range(max(following, numbers.start), min(n, numbers.stop))
            if wanted and wanted.start == following:
                yield self._read(numbers)[wanted.start - numbers.start : wanted.stop - numbers.start]
                following = wanted.stop
        if following < n:
            raise UserError(f"image {following} is missing in {self.folder}; give the command again to make it")

    def remove(self) -> None:
        """Deletes the shards and their recipe, and the folder if it is then empty."""
        for path in self.folder.iterdir():
            if NAME.fullmatch(path.name) or ".tmp" in path.suffixes:  # the latter from a process that was killed
                path.unlink()
        (self.folder / RECIPE).unlink()
        with suppress(OSError):
            self.folder.rmdir()

    def _read(self, numbers: range) -> Pixels:
        path = self._path(numbers)
        advice = "delete it, and give the command again to generate it"
        images = read_npz(path, ("images",), advice)["images"]
        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(f"{path} holds {images.dtype} with {images.ndim} axes, not uint8 [n, c, h, w]; {advice}")
        if len(images) != len(numbers):
            raise UserError(
                f"{path} holds {counted(len(images), 'image')}, not the {len(numbers)} of its name; {advice}"
            )
        return torch.from_numpy(images)

    def _path(self, numbers: range) -> Path:
        return self.folder / f"{numbers[0]:06d}-{numbers[-1]:06d}.npz"


def digest(weights: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 of weights and their names."""
    hashed = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        hashed.update(name.encode())
        hashed.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def part_of(n: int, part: int, parts: int, batch_size: int) -> range:
    """Returns the image numbers of one part of n images.

    Parts end where the batches of a single job would end, so that the images are bit-identical to those of one job.

    Args:
        n: number of images of all parts.
        part: number of the part, from 0 to parts − 1.
        parts: number of parts.
        batch_size: images that are generated at once.
    """
    batches = math.ceil(n / batch_size)
    first, last = (batches * each // parts * batch_size for each in (part, part + 1))
    return range(first, min(n, last))


def check_parts(config: dict[str, Any]) -> bool:
    """Returns whether this job generates one part of the images. Raises UserError if there is no such part."""
    if "parts" not in config:  # figure.py has none
        return False
    part, parts = config["part"], config["parts"]
    if part is None and parts is None:
        return False
    if config["images"] is not None:
        raise UserError(
            "part= and parts= divide images that are generated, but images= gives existing ones; leave one of them out"
        )
    check_whole(
        "parts", parts, 1, "it is the number of jobs that share the images; part=0 parts=8 is the first of eight"
    )
    batches = math.ceil(config["num_images"] / config["batch_size"])
    check_at_most("parts", parts, batches, "there are no more batches than that; make batch_size= smaller")
    if part is not None:
        check_whole("part", part, 0, "the first part of parts=8 is part=0, the last part=7")
        check_at_most("part", part, parts - 1, f"parts={parts} are counted from 0")
    return part is not None


def check_whole_set(shards: GeneratedShards, n: int, parts: int, batch_size: int) -> None:
    """Raises UserError if one of the parts of n images is missing or incomplete."""
    missing = [part for part in range(parts) if shards.missing(part_of(n, part, parts, batch_size), n)]
    if missing:
        raise UserError(
            f"of the {counted(parts, 'part')} of {counted(n, 'image')}, {shards.folder} lacks "
            f"part={','.join(map(str, missing))} or has only "
            f"some of it; generate it with part={missing[0]} parts={parts}, or leave out parts= to do so in this job"
        )
