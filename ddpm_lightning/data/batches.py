"""Which images make a batch: an endless stream for training, one pass for evaluation.

A batch is planned first (places in the data set, flips) and then gathered whole, so there is no Python per image.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch.utils.data import Dataset, Sampler

from ddpm_lightning.seeding import generator, place_of
from ddpm_lightning.typing import Flags, Indices, Pixels


class Plan(NamedTuple):
    """Which images, and which of them are to be mirrored."""

    indices: Indices
    flip: Flags


class Batch(NamedTuple):
    """Images as integers, which of them are to be mirrored, and their places in the data set."""

    images: Pixels
    flip: Flags
    indices: Indices


@runtime_checkable
class ImageDataset(Protocol):
    """Anything that knows its length and gathers a planned batch.

    fingerprint: changes when the images do, so that what was computed from them can be kept.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, plan: Plan) -> Batch: ...

    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class InMemoryImages(Dataset[Batch]):
    """A small data set as one tensor, [n, c, h, w] uint8."""

    images: Pixels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, plan: Plan) -> Batch:
        return Batch(self.images.index_select(0, plan.indices), plan.flip, plan.indices)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.images.shape).encode() + self.images.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Share:
    """One process of several, each of which takes its own part of every batch."""

    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class TrainingStream(Sampler[Plan]):
    """Batch after batch without end, from batch number `start`.

    The data are shuffled anew for each pass, and each pass gives n // batch_size batches. Order and flips follow from
    (seed, pass) and (seed, batch), so the stream is the same after a restart and for any number of processes.
    batch_size: of a step, all processes together. turns: the parts in which a process has its share of a step's batch
    one after the other, each of which counts as a batch.
    """

    n: int
    batch_size: int
    flip: bool
    seed: int
    share: Share
    start: int = 0
    turns: int = 1

    def __iter__(self) -> Iterator[Plan]:
        return map(self.plan, count(self.start))

    def plan(self, number: int) -> Plan:
        """This process's batch of this number."""
        mine = place_of(number, self.turns, self.share.rank, self.share.world_size)
        epoch, place = divmod(mine.step, self.n // self.batch_size)
        indices = _order(self.seed, epoch, self.n)[place * self.batch_size : (place + 1) * self.batch_size]
        flip = torch.rand(self.batch_size, generator=generator(self.seed, "flip", mine.step)) < 0.5 * self.flip
        return Plan(mine.of(indices), mine.of(flip))


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, n: int) -> Indices:
    return torch.randperm(n, generator=generator(seed, "order", epoch))


@dataclass(frozen=True)
class OnePass(Sampler[Plan]):
    """Every image once, in order; this process takes every world_size-th one. Nothing is padded, nothing is mirrored.

    batch_size: of each process.
    """

    n: int
    batch_size: int
    share: Share

    def __len__(self) -> int:
        return -(-len(self._mine()) // self.batch_size)

    def __iter__(self) -> Iterator[Plan]:
        mine = self._mine()
        for indices in torch.split(mine, self.batch_size) if len(mine) else ():  # of nothing, split makes one part
            yield Plan(indices, torch.zeros(len(indices), dtype=torch.bool))

    def _mine(self) -> Indices:
        return torch.arange(self.share.rank, self.n, self.share.world_size)
