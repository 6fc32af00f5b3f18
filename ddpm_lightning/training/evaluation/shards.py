"""Generated images on disk, in shards that are written as they come: a killed run goes on, a finished one is kept."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.results import write_results
from ddpm_lightning.typing import Pixels

RECIPE = "recipe.json"
"""What the images of a folder are made of."""


@dataclass(frozen=True)
class Shards:
    """A folder with an .npz for each run of image numbers, `000000-000255.npz`; its `images` is uint8 [n, c, h, w]."""

    folder: Path

    def open(self, recipe: Mapping[str, Any]) -> None:
        """Starts the folder, or sees that it is of the same recipe. Raises UserError where it is of another."""
        path = self.folder / RECIPE
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_results(path, dict(recipe))
        theirs = json.loads(path.read_text())
        ours = json.loads(json.dumps(recipe))
        differing = [key for key in ours if theirs.get(key) != ours[key]]
        if differing:
            key = differing[0]
            raise UserError(
                f"{self.folder} holds images of another {key} ({theirs.get(key)}) than this command's ({ours[key]}); "
                "choose another folder with generated=PATH, or delete it"
            )

    def ranges(self) -> list[range]:
        """The numbers of the images that are there, shard by shard, in order."""
        names = (path.stem.split("-") for path in sorted(self.folder.glob("[0-9]*-[0-9]*.npz")))
        return [range(int(first), int(last) + 1) for first, last in names]

    def missing(self, n: int, at_once: int) -> list[range]:
        """The numbers below n that are not there, in runs of at most `at_once`."""
        there = {number for numbers in self.ranges() for number in numbers}
        runs: list[range] = []
        for number in (number for number in range(n) if number not in there):
            if runs and runs[-1].stop == number and len(runs[-1]) < at_once:
                runs[-1] = range(runs[-1].start, number + 1)
            else:
                runs.append(range(number, number + 1))
        return runs

    def write(self, numbers: range, images: Pixels) -> None:
        """Writes a shard whole or not at all."""
        beside = self.folder / f"{os.getpid()}.tmp.npz"
        np.savez_compressed(beside, images=images.cpu().numpy())
        beside.replace(self._path(numbers))

    def read(self, n: int) -> Iterator[Pixels]:
        """Images 0..n−1 in order, shard by shard."""
        for numbers in self.ranges():
            if numbers.start < n:
                yield self._read(numbers)[: n - numbers.start]

    def _read(self, numbers: range) -> Pixels:
        path = self._path(numbers)
        try:
            with np.load(path) as file:
                return torch.from_numpy(file["images"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UserError(f"{path} is damaged ({error}); delete it, and it is made anew") from error

    def _path(self, numbers: range) -> Path:
        return self.folder / f"{numbers[0]:06d}-{numbers[-1]:06d}.npz"


def digest(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of weights, by name."""
    hashed = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        hashed.update(name.encode())
        hashed.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()
