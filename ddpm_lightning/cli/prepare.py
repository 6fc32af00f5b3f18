"""`prepare.py`: writes the images of a folder or a database as shards."""

import logging
import shlex
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ddpm_lightning.configuration.build import make_node
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.data.encoded import EncodedImagesDataModule, side_option
from ddpm_lightning.data.shards import ShardsDataModule
from ddpm_lightning.errors import UserError, check_at_most, check_boolean, check_whole, counted
from ddpm_lightning.runtime.command_line import command_for, option, relative
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.studies.prepare.conversion import convert

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Writes both splits of the data as shards into the folder into=, or resumes that."""
    with reporting_user_errors(), quiet_libraries():
        config = plain(cfg)
        check_options(config)
        data, folder = make_node(config, "data", EncodedImagesDataModule), Path(str(config["into"]))
        if isinstance(data, ShardsDataModule):
            raise UserError("data=shards are shards already; choose their source: data=image_folder or data=lsun")
        log.info("%s", data.summary())
        counts = convert(data, folder, config["images_per_shard"], config["workers"], config["labels"])
        images, where = " and ".join(counted(n, f"{split} image") for split, n in counts.items()), relative(folder)
        side = shlex.quote(f"data.side={side_option(data.side)}")
        options = f"data=shards {option('data.root', where)} {side} data.channels={data.channels}"
        log.info("%s in %s; train on them: %s %s", images, where, command_for("train.py"), options)


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError if an option of prepare.py cannot work."""
    if config["into"] is None:
        raise UserError("no folder given for the shards; add into=PATH")
    check_whole("workers", config["workers"], 0, "0 works in the main process; use as many as there are cores")
    check_at_most("workers", config["workers"], 256, "each is a process; one per core is enough")
    check_boolean("labels", config["labels"], "true keeps the class of each image, for conditioning=class")
    check_whole("images_per_shard", config["images_per_shard"], 1, "a shard holds at least one image; use 2048")
