"""Plans of batches: an endless shuffled stream for training, and one pass in order for evaluation.

A plan holds the indices of images and which of them to mirror. A data set reads all images of a plan at once, without
a Python loop over them.
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
from ddpm_lightning.typing import Classes, Examples, Flags, Images, Indices, LabelledExamples, Labels, Pixels


class Plan(NamedTuple):
    """The plan of a batch: which images to read, and which of them to mirror.

    Args:
        indices: indices of the images in the data set, [b].
        flip: which images to mirror, [b].
    """

    indices: Indices
    flip: Flags


class Batch(NamedTuple):
    """A batch as it was read: images that are not yet mirrored or converted to [−1, 1].

    Args:
        images: integers in 0..levels−1, [b, c, h, w].
        flip: which images to mirror, [b].
        indices: indices of the images in the data set, [b].
    """

    images: Pixels
    flip: Flags
    indices: Indices

    def on(self, device: torch.device | str) -> "Batch":
        """Returns the batch on a device."""
        return Batch(*(part.to(device) for part in self))

    def examples(self, x_0: Images) -> Examples:
        """Returns the batch with x_0 in place of its images, as the model takes it.

        Args:
            x_0: the batch's images, mirrored as `flip` says and converted to [−1, 1], [b, c, h, w].
        """
        return Examples(x_0, self.indices)


class LabelledBatch(NamedTuple):
    """A batch as it was read, with the classes of its images.

    Args:
        images, flip, indices: see `Batch`.
        y: the classes, [b].
    """

    images: Pixels
    flip: Flags
    indices: Indices
    y: Classes

    def on(self, device: torch.device | str) -> "LabelledBatch":
        """Returns the batch on a device."""
        return LabelledBatch(*(part.to(device) for part in self))

    def examples(self, x_0: Images) -> LabelledExamples:
        """Returns the batch with x_0 in place of its images, and with its classes; see `Batch.examples`."""
        return LabelledExamples(x_0, self.indices, self.y)


AnyBatch = Batch | LabelledBatch
"""A batch as it was read, with or without classes."""


@runtime_checkable
class ImageDataset(Protocol):
    """A data set that reads batches by plan.

    Example:
        >>> class GreyImages:
        ...     def __len__(self):
        ...         return 100
        ...
        ...     def __getitem__(self, plan):
        ...         images = torch.full((len(plan.indices), 1, 8, 8), 128, dtype=torch.uint8)
        ...         return Batch(images, plan.flip, plan.indices)
        ...
        ...     def fingerprint(self):
        ...         return "100 grey images"
        >>> isinstance(GreyImages(), ImageDataset)
        True
    """

    def __len__(self) -> int:
        """Returns the number of images."""
        ...

    def __getitem__(self, plan: Plan) -> Batch:
        """Reads the images of a plan."""
        ...

    def fingerprint(self) -> str:
        """Returns a text that changes when the images do, as a key for what is computed from them."""
        ...


@dataclass(frozen=True)
class InMemoryImages(Dataset[Batch]):
    """A data set in memory.

    Args:
        images: all images, [n, c, h, w], uint8.
    """

    images: Pixels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, plan: Plan) -> Batch:
        return Batch(self.images.index_select(0, plan.indices), plan.flip, plan.indices)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.images.shape).encode() + self.images.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class LabelledImages(Dataset[LabelledBatch]):
    """A data set whose batches hold the classes of their images.

    Args:
        images: the data set without classes.
        labels: the class of each image, [n].
    """

    images: ImageDataset
    labels: Labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, plan: Plan) -> LabelledBatch:
        return LabelledBatch(*self.images[plan], self.labels[plan.indices])


@dataclass(frozen=True)
class Share:
    """Which of several processes this is; each reads its own part of the data.

    Args:
        rank: in 0..world_size−1.
        world_size: the number of processes.
    """

    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class TrainingStream(Sampler[Plan]):
    """Endless plans of training batches, from batch number `start`.

    Each pass over the data has another order and n // batch_size whole batches. The order follows from (seed, pass)
    and the flips from (seed, step). So the stream is the same after a restart and for any number of processes.

    Args:
        n: the number of images.
        batch_size: the images of an optimizer step, all processes together; at most n.
        flip: whether to mirror half of the images at random.
        seed: the seed of order and flips.
        share: which process this is.
        start: the number of this process's first batch.
        accumulated: how many batches each process accumulates for a step.
    """

    n: int
    batch_size: int
    flip: bool
    seed: int
    share: Share
    start: int = 0
    accumulated: int = 1

    def __iter__(self) -> Iterator[Plan]:
        return map(self.plan, count(self.start))

    def plan(self, number: int) -> Plan:
        """Returns the plan of this process's batch `number`: b = batch_size/(world_size · accumulated)."""
        mine = place_of(number, self.accumulated, self.share.rank, self.share.world_size)
        epoch, place = divmod(mine.step, self.n // self.batch_size)
        indices = _order(self.seed, epoch, self.n)[place * self.batch_size : (place + 1) * self.batch_size]
        flip = torch.rand(self.batch_size, generator=generator(self.seed, "flip", mine.step)) < 0.5 * self.flip
        return Plan(mine.of(indices), mine.of(flip))


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, n: int) -> Indices:
    return torch.randperm(n, generator=generator(seed, "order", epoch))


@dataclass(frozen=True)
class OnePass(Sampler[Plan]):
    """Plans that visit every image once, in order, none mirrored; no batch is padded.

    Args:
        n: the number of images.
        batch_size: the images of a batch of this process.
        share: which process this is; it reads the images rank, rank + world_size, rank + 2·world_size, …
    """

    n: int
    batch_size: int
    share: Share

    def __len__(self) -> int:
        return -(-len(self._mine()) // self.batch_size)

    def __iter__(self) -> Iterator[Plan]:
        mine = self._mine()
        parts = torch.split(mine, self.batch_size) if len(mine) else ()  # torch splits an empty tensor into one part
        for indices in parts:
            yield Plan(indices, torch.zeros(len(indices), dtype=torch.bool))

    def _mine(self) -> Indices:
        return torch.arange(self.share.rank, self.n, self.share.world_size)
