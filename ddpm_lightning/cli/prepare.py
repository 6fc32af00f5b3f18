"""What prepare.py does: images from a folder or a database into shards, in parallel; what was stopped goes on."""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.configuration.build import make, plain
from ddpm_lightning.data.encoded import EncodedImages, EncodedImagesDataModule, side_option
from ddpm_lightning.data.shards import SHARD_LIST, ShardList, ShardsDataModule, read_index, to_json
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.runtime.command_line import command_for, option, relative
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.recipe import open_folder
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.studies.prepare.writing import Shard, ShardWriting

log = logging.getLogger(__name__)

SPLITS = ("train", "test")
BROKEN = "broken.txt"


def run(cfg: DictConfig) -> None:
    """Writes both splits of the data as shards into the folder."""
    with reporting_user_errors(), quiet_libraries():
        config = plain(cfg)
        check_options(config)
        data, folder = make(config["data"], EncodedImagesDataModule), Path(str(config["into"]))
        if isinstance(data, ShardsDataModule):
            raise UserError("data=shards are shards already; say what they are made of: data=image_folder or data=lsun")
        log.info("%s", data.summary())
        images = convert(data, folder, config["images_per_shard"], config["workers"])
        told, where = " and ".join(f"{n} {split} images" for split, n in images.items()), relative(folder)
        side = shlex.quote(f"data.side={side_option(data.side)}")
        options = f"data=shards {option('data.root', where)} {side} data.channels={data.channels}"
        log.info("%s in %s; train on them: %s %s", told, where, command_for("train.py"), options)


def convert(data: EncodedImagesDataModule, folder: Path, images_per_shard: int, workers: int) -> dict[str, int]:
    """Writes what is not there yet. Returns the number of images of each split; broken ones are left out and told."""
    splits = {split: data.load(split) for split in SPLITS}
    is_used = any(path.suffix != ".tmp" and not path.name.startswith(".") for path in folder.glob("*"))
    open_folder(folder, recipe(data, splits, images_per_shard), "into=", holds_images=is_used)
    shards = {split: plan(folder, split, splits[split], images_per_shard) for split in SPLITS}
    write_missing([shard for split in SPLITS for shard in shards[split]], workers)
    indices = {split: {shard.tar.name: read_index(shard.tar) for shard in shards[split]} for split in SPLITS}
    tell_broken(folder, [sentence for split in SPLITS for each in indices[split].values() for sentence in each.broken])
    counts = {split: {name: len(index.offsets) for name, index in indices[split].items()} for split in SPLITS}
    finish(folder, ShardList(side=data.side, channels=data.channels, splits=counts))
    return {split: sum(counts[split].values()) for split in SPLITS}


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError where prepare.py's own options cannot work."""
    if config["into"] is None:
        raise UserError("no folder given for the shards; add into=PATH")
    check_whole("workers", config["workers"], 0, "0 works in the main process; use as many as there are cores")
    check_at_most("workers", config["workers"], 256, "each is a process; one per core is enough")
    check_whole("images_per_shard", config["images_per_shard"], 1, "a shard holds at least one image; use 2048")


def recipe(data: EncodedImagesDataModule, splits: dict[str, EncodedImages], images_per_shard: int) -> dict[str, Any]:
    """All that the bytes of the shards follow from."""
    of_splits = {f"{split} split": images.fingerprint() for split, images in splits.items()}
    return {"side": data.side, "channels": data.channels, "images_per_shard": images_per_shard, **of_splits}


def plan(folder: Path, split: str, images: EncodedImages, images_per_shard: int) -> list[Shard]:
    """Every image of the split in one shard, in order."""
    places = range(len(images))
    firsts = places[::images_per_shard]
    parts = [places[first : first + images_per_shard] for first in firsts]
    return [Shard(images, part, folder / f"{split}-{number:06d}.tar") for number, part in enumerate(parts)]


def write_missing(shards: list[Shard], workers: int) -> None:
    """Writes those that are not there, several at once, and names broken images as they are met."""
    missing = [shard for shard in shards if not shard.is_complete()]
    total, left = (sum(len(shard.places) for shard in some) for some in (shards, missing))
    loader = DataLoader(ShardWriting(missing), batch_size=None, num_workers=workers, generator=torch.Generator())
    with progress_bar(total=total, initial=total - left, desc="Preparing", unit="image") as bar, _told_how_to_go_on():
        for shard, index in zip(missing, loader, strict=True):
            bar.update(len(shard.places))
            for sentence in index.broken:
                bar.write(f"Left out: {sentence}")


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        log.info("The shards that are finished are kept; the same command goes on with them")
        raise
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise UserError(
            "a process that converts images was killed, perhaps for want of memory or by a damaged database; the same "
            "command goes on with the finished shards (workers=1 needs least memory)"
        ) from error


def tell_broken(folder: Path, broken: list[str]) -> None:
    """Says how many are left out, and names them in a file."""
    if broken:
        with atomic_write(folder / BROKEN, shared=True) as file:
            file.write("".join(f"{sentence}\n" for sentence in broken).encode())
        log.warning("Left out, for they are broken: %d images; %s names them", len(broken), relative(folder / BROKEN))


def finish(folder: Path, shards: ShardList) -> None:
    """Lists the shards, by which the folder is finished. Raises UserError where a split has no image."""
    for split, images in shards.splits.items():
        if not sum(images.values()):
            raise UserError(f"no image of the {split} split can be read; delete {folder}, and mend them")
    for left_over in folder.glob("*.tmp"):  # of commands that were killed
        left_over.unlink(missing_ok=True)
    with atomic_write(folder / SHARD_LIST, shared=True) as file:
        file.write(to_json(shards))
