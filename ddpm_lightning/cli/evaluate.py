"""The command that measures a checkpoint, or images: results.json comes out."""

import logging
from typing import Any

from lightning.fabric import Fabric
from omegaconf import DictConfig

from ddpm_lightning.configuration.build import compile_network, make, plain
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.measure import check_options, make_subject, measure_all
from ddpm_lightning.evaluation.parts import check_parts, part_of
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.processes import in_processes, is_first
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.results import commit
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.runtime.user_errors import reporting_user_errors

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Measures every metric that was asked for, and writes results.json after each."""
    with reporting_user_errors():
        in_processes(evaluate_here, plain(cfg))


def evaluate_here(config: dict[str, Any]) -> None:
    """The same in this process, which may be one of several."""
    commit()  # of what runs, whatever becomes of the files meanwhile
    with quiet_libraries():
        check_options(config)
        if check_parts(config):
            make_part(config)
        else:
            measure_all(config, {"metrics": {}, "evaluated": {}}, after_each=lambda: None)


def make_part(config: dict[str, Any]) -> None:
    """Makes one job's part of the images, and measures nothing. Asked to stop, it keeps what it has made."""
    fabric = make(config["trainer"], Fabric)
    images = make_subject(config, fabric).images
    assert isinstance(images, Generated)
    images.check()
    if is_first():
        images.open()
    fabric.launch()
    images.model.to(fabric.device)
    compile_network(images.model, config["compile"])
    wanted = part_of(config["num_images"], config["part"], config["parts"], config["batch_size"])
    with STOP.listening():
        images.make(fabric, wanted)
    if fabric.is_global_zero:
        log.info("Images %d to %d are in %s", wanted[0], wanted[-1], relative(images.shards.folder))
