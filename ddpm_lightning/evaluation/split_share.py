"""Helpers of the metrics in bits/dim: each process's share of a split, a progress bar, names and records."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.typing import AnyExamples


def check_split(split: str) -> None:
    """Raises UserError unless the split is "train" or "test"."""
    if split not in ("train", "test"):
        raise UserError(f"split={split} is neither train nor test; choose one of them")


def check_first(option: str, num_images: int | None, trained: Trained, split: str) -> None:
    """Raises UserError unless the split has `num_images` images. None stands for all. `option` is its option's name."""
    images = trained.data.images(split)
    if num_images is not None:
        check_whole(option, num_images, 1, "null is for all")
        check_at_most(option, num_images, len(images), "the split has no more")


def first_label(num_images: int | None) -> str:
    """Returns the suffix of a result's name for the first `num_images` images of a split; "" if None, for all."""
    return "" if num_images is None else f"_first{num_images}"


def share_of_split(subject: Subject, trained: Trained, split: str, first: int | None = None) -> Iterator[AnyExamples]:
    """Yields this process's batches of a split, on the device. `first` limits the split to its first images."""
    fabric = subject.fabric
    share = {"rank": fabric.global_rank, "world_size": fabric.world_size}
    return trained.data.in_order(split, fabric.device, first=first, **share)


@contextmanager
def measuring(
    subject: Subject, trained: Trained, split: str, calls_per_image: int, first: int | None = None
) -> "Iterator[tqdm[Any]]":
    """Sets up a measurement: no gradients, evaluation mode, the precision of the Fabric, and a progress bar.

    Args:
        subject: the subject that is measured.
        trained: its model.
        split: the split of the data, for the number of images.
        calls_per_image: network calls per image; the bar counts network calls of this process.
        first: number of images that are measured; None is all of the split.

    Yields:
        The progress bar.
    """
    fabric = subject.fabric
    n = len(trained.data.images(split)) if first is None else first
    mine = len(range(fabric.global_rank, n, fabric.world_size))
    bar = progress_bar(
        total=mine * calls_per_image,
        desc="Bits/dim",
        unit="call",
        unit_scale=True,
        disable=not fabric.is_global_zero,
    )
    with torch.no_grad(), evaluating(trained.model), fabric.autocast(), bar:
        yield bar


def bound_label(trained: Trained, clip_x_0: bool) -> str:
    """Returns the suffix of a bound's name: the variance, and what differs from the paper's evaluation.

    Bounds of different variances do not compare, nor do those of p(x) and p(x | y).
    """
    return trained.model.label + ("" if clip_x_0 else "_unclipped") + trained.suffix


def bound_origin(trained: Trained, split: str, clip_x_0: bool, num_images: int) -> dict[str, Any]:
    """Returns the entries of a bound's record in results.json, except its value and its estimator."""
    return {
        "clip_x_0": clip_x_0,
        "split": split,
        "num_images": num_images,
        "levels": trained.model.levels,
        **trained.origin,
    }
