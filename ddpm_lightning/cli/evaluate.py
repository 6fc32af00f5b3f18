"""`evaluate.py`: measures a checkpoint or a set of images, and writes results.json."""

import logging
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from omegaconf import DictConfig

from ddpm_lightning.configuration.build import compile_network, make_node
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.generated_shards import check_parts, part_of
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.measure import check_options, make_subject, measure_all
from ddpm_lightning.evaluation.sample_metrics import check_extractor
from ddpm_lightning.metrics.extractor import sha256_of
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.processes import in_processes, is_first
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.recipe import check_same
from ddpm_lightning.runtime.results import commit
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.training.run_results import read_results, results_of

log = logging.getLogger(__name__)

OPTIONS = "options"
"""The key in results.json of the options that all its numbers follow from."""

NOT_MADE_OF = (
    "metrics",
    "extractor",
    "batch_size",
    "compile",
    "generated",
    "cache",
    "run_dir",
    "data",
    "part",
    "parts",
    "one_by_one",
)
"""Options that the numbers do not follow from, or that "evaluated" holds for each metric."""


def run(cfg: DictConfig) -> None:
    """Measures the chosen metrics, and writes results.json after each."""
    with reporting_user_errors():
        in_processes(evaluate, plain(cfg))


def evaluate(config: dict[str, Any]) -> None:
    """Measures the metrics in this process, which may be one of several, or makes one part of the images."""
    commit()  # remembers the commit that runs, even if files change meanwhile
    with quiet_libraries():
        check_options(config)
        check_extractor(config)
        if check_parts(config):
            make_part(config)
        else:
            results = results_so_far(config)
            if {name for name, node in config["metrics"].items() if node is not None} <= results["evaluated"].keys():
                log.info("These results are finished: %s", relative(results_of(config)))
            measure_all(config, results, after_each=lambda: None)


def results_so_far(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the contents of results.json, to which this command adds the metrics that it lacks.

    Raises:
        UserError: They are of another model, other images or other options than this command's.
    """
    folder, recipe, results = Path(config["run_dir"]), recipe_of(config), read_results(config)
    if not results:
        return {OPTIONS: recipe, "metrics": {}, "evaluated": {}}
    if OPTIONS not in results:
        raise UserError(f"{folder} holds results of unknown options; choose another folder with hydra.run.dir=PATH")
    kept = {name: each["asked"]["metric"] for name, each in results["evaluated"].items()}
    again = {name: node for name, node in config["metrics"].items() if name in kept and node is not None}
    check_same(folder, {**results[OPTIONS], **kept}, {**recipe, **again}, "hydra.run.dir=", "results")
    return {key: results[key] for key in (OPTIONS, "metrics", "evaluated")}


def recipe_of(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the options that every number in results.json follows from. Checkpoints are known by their content."""
    content: dict[str, Any] = {"checkpoint_sha256": _sha256_of_checkpoint(config)}
    if "checkpoint" in (config.get("guidance") or {}):
        content["guidance_sha256"] = _sha256_of_checkpoint(config["guidance"])
    content["precision"] = config["trainer"].get("precision")
    return {**content, **{key: config[key] for key in config if key not in NOT_MADE_OF}}


def _sha256_of_checkpoint(node: dict[str, Any]) -> str | None:
    """Returns the checksum of the checkpoint that a node names, or None if there is none."""
    path = node["checkpoint"]
    return sha256_of(Path(path)) if path and Path(path).is_file() else None


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
