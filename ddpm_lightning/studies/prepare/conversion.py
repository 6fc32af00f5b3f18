"""Converts both splits of a data set into a folder of shards, in parallel. An interrupted conversion can be resumed."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.data.encoded import EncodedImages, EncodedImagesDataModule
from ddpm_lightning.data.shards import SHARD_LIST, ShardList, read_index, to_json
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.recipe import open_folder
from ddpm_lightning.studies.prepare.writing import Shard, ShardWriting

log = logging.getLogger(__name__)

SPLITS = ("train", "test")

BROKEN = "broken.txt"
"""The file that names the images that could not be read."""


def convert(
    data: EncodedImagesDataModule, folder: Path, images_per_shard: int, workers: int, labels: bool = False
) -> dict[str, int]:
    """Writes the shards of both splits that the folder does not hold yet.

    Args:
        data: The images.
        folder: The folder of the shards.
        images_per_shard: The number of images in a shard.
        workers: The number of processes; 0 works in this one.
        labels: Whether the shards keep the class of each image.

    Returns:
        The number of images of each split, without broken ones, which are logged and left out.

    Raises:
        UserError: The folder holds other images, or a split has no image that can be read, or no labels.
    """
    splits = {split: data.load(split) for split in SPLITS}
    names = list(data.class_names) if labels else None
    classes = {split: data.labels(split).tolist() if labels else None for split in SPLITS}
    is_used = any(path.suffix != ".tmp" and not path.name.startswith(".") for path in folder.glob("*"))
    made_of = {**recipe(data, splits, images_per_shard), **({"class_names": names} if labels else {})}
    open_folder(folder, made_of, "into=", holds_images=is_used)
    shards = {split: plan(folder, split, splits[split], images_per_shard, classes[split]) for split in SPLITS}
    write_missing([shard for split in SPLITS for shard in shards[split]], workers)
    indices = {split: {shard.tar.name: read_index(shard.tar) for shard in shards[split]} for split in SPLITS}
    report_broken(
        folder, [message for split in SPLITS for index in indices[split].values() for message in index.broken]
    )
    counts = {split: {name: len(index.offsets) for name, index in indices[split].items()} for split in SPLITS}
    finish(folder, ShardList(side=data.side, channels=data.channels, splits=counts, class_names=names))
    return {split: sum(counts[split].values()) for split in SPLITS}


def recipe(data: EncodedImagesDataModule, splits: dict[str, EncodedImages], images_per_shard: int) -> dict[str, Any]:
    """Returns all settings and fingerprints that determine the bytes of the shards, except for the labels."""
    of_splits = {f"{split} split": images.fingerprint() for split, images in splits.items()}
    return {"side": data.side, "channels": data.channels, "images_per_shard": images_per_shard, **of_splits}


def plan(
    folder: Path, split: str, images: EncodedImages, images_per_shard: int, labels: Sequence[int] | None = None
) -> list[Shard]:
    """Returns the shards of a split, in the order of its images.

    Args:
        folder: The folder of the shards.
        split: The name of the split, with which the names of the tar files begin.
        images: The images of the split.
        images_per_shard: The number of images in a shard.
        labels: The class of each image, if the shards keep it.
    """
    places = range(len(images))
    parts = [places[first : first + images_per_shard] for first in places[::images_per_shard]]
    return [Shard(images, part, folder / f"{split}-{number:06d}.tar", labels) for number, part in enumerate(parts)]


def write_missing(shards: list[Shard], workers: int) -> None:
    """Writes the shards that are missing, one per worker process at a time, and prints the names of broken images."""
    missing = [shard for shard in shards if not shard.is_complete()]
    total, left = (sum(len(shard.places) for shard in some) for some in (shards, missing))
    loader = DataLoader(ShardWriting(missing), batch_size=None, num_workers=workers, generator=torch.Generator())
    with progress_bar(total=total, initial=total - left, desc="Preparing", unit="image") as bar, saying_how_to_resume():
        for shard, index in zip(missing, loader, strict=True):
            bar.update(len(shard.places))
            for message in index.broken:
                bar.write(f"Left out: {message}")


@contextmanager
def saying_how_to_resume() -> Iterator[None]:
    """Logs how to resume if Ctrl-C interrupts the block.

    Raises:
        UserError: A process of the DataLoader was killed; the message says how to resume.
    """
    try:
        yield
    except KeyboardInterrupt:
        log.info("The finished shards are kept; the same command resumes with them")
        raise
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(
            "a process that converts images was killed, perhaps because memory was short or a database is damaged; the "
            "same command resumes with the finished shards (workers=1 needs least memory)"
        ) from error


def report_broken(folder: Path, messages: list[str]) -> None:
    """Logs the number of broken images, and names them in a file."""
    if messages:
        with atomic_write(folder / BROKEN, shared=True) as file:
            file.write("".join(f"{message}\n" for message in messages).encode())
        log.warning("Left out because broken: %s; see %s", counted(len(messages), "image"), relative(folder / BROKEN))


def finish(folder: Path, shards: ShardList) -> None:
    """Writes the list of the shards, which marks the folder as finished.

    Raises:
        UserError: A split has no image.
    """
    for split, images in shards.splits.items():
        if not sum(images.values()):
            raise UserError(f"no image of the {split} split can be read; delete {folder}, and repair the images")
    for left_over in folder.glob("*.tmp"):  # of commands that were killed
        left_over.unlink(missing_ok=True)
    with atomic_write(folder / SHARD_LIST, shared=True) as file:
        file.write(to_json(shards))
