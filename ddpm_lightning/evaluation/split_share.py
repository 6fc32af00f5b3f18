"""This process's share of a split, a bar, and what results.json says of it; for bounds, exact or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.typing import Examples


def check_split(split: str) -> None:
    """Raises UserError where there is no such split."""
    if split not in ("train", "test"):
        raise UserError(f"split={split} is none of train, test; choose one of them")


def check_first(option: str, num_images: int | None, trained: Trained, split: str) -> None:
    """Raises UserError unless the split has so many images; None is all of them. option: how the user writes it."""
    images = trained.data.images(split)
    if num_images is not None:
        check_whole(option, num_images, 1, "null is for all")
        check_at_most(option, num_images, len(images), "the split has no more")


def first_label(num_images: int | None) -> str:
    """What a number's name ends in where it is of the first so many images."""
    return "" if num_images is None else f"_first{num_images}"


def share_of_split(subject: Subject, trained: Trained, split: str, first: int | None = None) -> Iterator[Examples]:
    """Batches on the device, every image (or the first so many) once over all processes."""
    fabric = subject.fabric
    share = {"rank": fabric.global_rank, "world_size": fabric.world_size}
    return trained.data.in_order(split, fabric.device, first=first, **share)


@contextmanager
def measuring(
    subject: Subject, trained: Trained, split: str, calls_per_image: int, first: int | None = None
) -> "Iterator[tqdm[Any]]":
    """Inside, no gradients, no dropout, the precision asked for; a bar of this process's network calls."""
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
    """What the name of a bound says: the variance, for bounds of two variances do not compare, and what is not as in
    the paper's evaluation."""
    return trained.model.variance.name + ("" if clip_x_0 else "_unclipped") + trained.suffix


def bound_origin(trained: Trained, split: str, clip_x_0: bool, num_images: int) -> dict[str, Any]:
    """What results.json says of a bound, besides how it was found."""
    return {
        "clip_x_0": clip_x_0,
        "split": split,
        "num_images": num_images,
        "levels": trained.model.levels,
        **trained.origin,
    }
