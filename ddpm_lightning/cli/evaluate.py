"""`evaluate.py`: measures a checkpoint or a set of images, and writes results.json."""

import logging
from typing import Any

from lightning.fabric import Fabric
from omegaconf import DictConfig

from ddpm_lightning.configuration.build import compile_network, make_node, plain
from ddpm_lightning.evaluation.generated_shards import check_parts, part_of
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.measure import check_options, make_subject, measure_all
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.processes import in_processes, is_first
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.results import commit
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.runtime.user_errors import reporting_user_errors

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Measures the chosen metrics, and writes results.json after each."""
    with reporting_user_errors():
        in_processes(evaluate, plain(cfg))


def evaluate(config: dict[str, Any]) -> None:
    """Measures the metrics in this process, which may be one of several, or makes one part of the images."""
    commit()  # remembers the commit that runs, even if files change meanwhile
    with quiet_libraries():
        check_options(config)
        if check_parts(config):
            make_part(config)
        else:
            measure_all(config, {"metrics": {}, "evaluated": {}}, after_each=lambda: None)


def make_part(config: dict[str, Any]) -> None:
    """Makes the images of one job (part=), and measures nothing. A signal stops it; its finished images are kept."""
    fabric = make_node(config, "trainer", Fabric)
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
