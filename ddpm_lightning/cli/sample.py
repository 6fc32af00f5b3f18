"""`sample.py`: samples images from a checkpoint and writes them to files."""

import logging
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig

from ddpm_lightning.configuration.build import compile_network, make_node, make_sampler
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.errors import UserError, check_whole, counted
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.measure import check_generation, from_checkpoint
from ddpm_lightning.evaluation.sample_files import FILES, Output
from ddpm_lightning.evaluation.subject import load_trained
from ddpm_lightning.runtime.command_line import option, relative
from ddpm_lightning.runtime.devices import choose_accelerator
from ddpm_lightning.runtime.recipe import RECIPE, check_recipe, read_recipe, write_recipe
from ddpm_lightning.runtime.signals import STOP, Interrupted
from ddpm_lightning.runtime.user_errors import reporting_user_errors

log = logging.getLogger(__name__)

WRITTEN = "written"
"""The key in recipe.json for the finished files."""


def run(cfg: DictConfig) -> None:
    """Samples images from a checkpoint. In the folder of an interrupted command, it resumes that."""
    with reporting_user_errors():
        config = plain(cfg)
        check_options(config)
        try:
            with STOP.listening():
                write_images(config)
        except Interrupted as stop:
            raise SystemExit(stop.exit_code) from None


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError if an option of sample.py cannot work."""
    if config["checkpoint"] is None:
        raise UserError("no checkpoint given; add checkpoint=PATH, a run keeps its own at checkpoints/last.ckpt")
    check_whole("num_images", config["num_images"], 1, "give a number of images")
    check_generation(config)


def write_images(config: dict[str, Any]) -> None:
    """Makes the images, keeping each finished batch on disk, and writes them in the format of output=.

    Images that are written already are not made again. More of them take their place.
    """
    output, folder = make_node(config, "output", Output), Path(config["run_dir"])
    environment = LightningEnvironment()  # one process, even if torchrun or Slurm started it
    fabric = Fabric(accelerator=choose_accelerator("auto"), devices=1, plugins=environment)
    images = generated_in(folder, config, fabric)
    before, kind = written_before(folder, images), type(output).__name__
    if kind in before and (finished := finished_file(folder, before[kind], images.n)):
        log.info("These images are finished: %s", relative(finished))
        return
    images.open()
    images.model.to(fabric.device)
    compile_network(images.model, config["compile"])
    written = output.of_classes(images.labels).write(images.as_generated(fabric), images.n, folder)
    record = {"path": str(written.relative_to(folder)), "num_images": images.n}
    write_recipe(folder, {**images.recipe, WRITTEN: {**before, kind: record}})
    if images.shards.ranges()[-1].stop <= images.n:  # else they are part of a larger set that can be resumed
        images.shards.remove()
    log.info("%s of step %d: %s", counted(images.n, "image"), images.origin["step"], relative(written))


def written_before(folder: Path, images: Generated) -> dict[str, Any]:
    """Returns the finished files in the folder: path and number of images, by the class of output=.

    Raises:
        UserError: The folder holds other images than these.
    """
    option, resumes = "hydra.run.dir=", (images.shards.folder / RECIPE).exists()
    holds_files = not resumes and any((folder / name).exists() for name in FILES)
    check_recipe(folder, images.recipe, option, holds_files=holds_files)
    return dict(read_recipe(folder, option).get(WRITTEN, {}))


def finished_file(folder: Path, record: dict[str, Any], n: int) -> Path | None:
    """Returns the file or folder that holds these n images, or None. Raises UserError if it holds more of them."""
    path = folder / str(record["path"])
    if not path.exists() or record["num_images"] < n:
        return None
    if record["num_images"] > n:
        raise UserError(
            f"num_images={n} would overwrite the {record['num_images']} images in {path}; choose another folder with "
            "hydra.run.dir=PATH, or delete it"
        )
    return path


def generated_in(folder: Path, config: dict[str, Any], fabric: Fabric) -> Generated:
    """Returns the images that the options ask for. They are kept below the folder until the output is written."""
    shards = GeneratedShards(folder / "generated", option="hydra.run.dir=")
    trained = load_trained(config, fabric)
    names = trained.model.conditioning.class_names
    config = {**config, "labels": config["labels"] or list(range(len(names))) or None}
    sampler = make_sampler(config["sampler"], trained.model)
    images = from_checkpoint(config, trained, sampler, fabric.device.type, shards)
    images.task.check_sampler(sampler)
    images.how_to_resume = f"give the same options with {option('hydra.run.dir', relative(folder))}"
    return images
