"""Measures the metrics of a run after its training (metrics=), as evaluate.py does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
from lightning.fabric import Fabric

from ddpm_lightning.configuration.build import EvaluationData, make, make_sampler
from ddpm_lightning.configuration.full_keys import naming_options
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.fabric import precision_of
from ddpm_lightning.evaluation.image_sets import ImageSet
from ddpm_lightning.evaluation.measure import (
    check_metrics,
    check_options,
    images_suffix,
    make_metrics,
    measure_all,
    options_of_metric,
    options_within,
)
from ddpm_lightning.evaluation.sample_metrics import check_extractor
from ddpm_lightning.evaluation.subject import Subject, Trained, weights_suffix
from ddpm_lightning.runtime.run_files.run_state import has_all_steps, metrics_after_training
from ddpm_lightning.training.callbacks.checkpoints import last_checkpoint
from ddpm_lightning.training.callbacks.stop import stop_if_asked
from ddpm_lightning.training.run_results import read_results
from ddpm_lightning.typing import Pixels

DATA_OPTIONS = ("root", "num_workers", "eval_batch_size")
"""Options of the data that may differ from those in the checkpoint."""


def options_of(config: dict[str, Any]) -> dict[str, Any]:
    """Returns evaluate.py's options for the last checkpoint of a run.

    Raises:
        UserError: if the run saves no checkpoint.
    """
    callbacks, trainer = config["callbacks"] or {}, config["trainer"]
    if callbacks.get("checkpoint") is None:
        raise UserError("metrics= are measured on the last checkpoint, but callbacks.checkpoint=null saves none")
    devices = {key: trainer[key] for key in ("accelerator", "devices", "num_nodes") if key in trainer}
    return {
        **{key: config[key] for key in ("metrics", "sampler", "seed", "run_dir", "compile")},
        **config["evaluation"],
        "checkpoint": str(last_checkpoint(config["run_dir"])),
        "use_ema": callbacks.get("ema") is not None,
        "data": {key: config["data"][key] for key in DATA_OPTIONS if key in config["data"]},
        "trainer": {**config["evaluation"]["trainer"], **devices},
        **dict.fromkeys(("images", "generated", "reference")),
    }


def measured_before(config: dict[str, Any], steps: int) -> dict[str, Any]:
    """Returns the results in results.json that are of the model after `steps` steps and of the options asked for now.

    Returns:
        {"metrics": records by name, "evaluated": for each metric, its options and the names of its records}, where
        "evaluated" is missing if the run measures no metrics after training.
    """
    names = metrics_after_training(config)
    if not names:
        return {"metrics": {}}
    options, outcome = options_of(config), read_results(config)
    kept: dict[str, Any] = {"metrics": {}, "evaluated": {}}
    evaluated = outcome.get("evaluated")
    records: dict[str, Any] = evaluated if isinstance(evaluated, dict) else {}
    for name in sorted(names & set(records)):
        record = records[name]
        metrics = {key: outcome.get("metrics", {}).get(key) for key in record["names"]}
        of_this_step = all(each and each["step"] == steps for each in metrics.values())
        if of_this_step and record["asked"] == options_of_metric(options, name):
            kept = {"metrics": {**kept["metrics"], **metrics}, "evaluated": {**kept["evaluated"], name: record}}
    return kept


def is_finished(config: dict[str, Any], steps: int) -> bool:
    """Returns whether the run has trained for `steps` steps, its last, and has measured every metric after them."""
    has_numbers = has_all_steps(read_results(config), steps)
    return has_numbers and metrics_after_training(config) == set(measured_before(config, steps).get("evaluated", {}))


def evaluate_run(config: dict[str, Any], results: dict[str, Any], trainer: L.Trainer) -> dict[str, Any]:
    """Measures the metrics that the results lack and adds them to results.json. Every process calls it.

    Args:
        config: the run's configuration.
        results: the results so far, as `report` returns them.
        trainer: the trainer that has trained.

    Returns:
        The new results by name, on the first process.

    Raises:
        Interrupted: after a metric, if the run was asked to stop.
    """
    return measure_all(options_of(config), results, after_each=lambda: stop_if_asked(trainer))


def check_evaluation(config: dict[str, Any], model: DenoisingDiffusion, data: EvaluationData) -> Sequence[str] | None:
    """Checks before training that all metrics can be measured after it, and returns the names of their results.

    Args:
        config: the run's configuration.
        model: the untrained model.
        data: the data of the run.

    Returns:
        The names; None if a metric of the user's own does not list its names.

    Raises:
        UserError: if a metric cannot be measured.
    """
    check_extractor(config)
    options = options_of(config)
    with naming_options("evaluation", [*config["evaluation"], "trainer.precision"]):
        check_options(options)
        fabric = make(options["trainer"], Fabric, "evaluation.trainer")
    subject = future_subject(options, fabric, model, data)
    metrics = make_metrics(options)
    check_metrics(metrics, subject)
    names = [each.result_names(subject) if isinstance(each, NamesResults) else None for each in metrics.values()]
    return None if None in names else [name for each in names for name in each or ()]


def future_subject(options: dict[str, Any], fabric: Fabric, model: DenoisingDiffusion, data: EvaluationData) -> Subject:
    """Returns the subject of the evaluation after training, with the untrained model and without its images."""
    trained = Trained(model, data, {}, {}, weights_suffix(options["use_ema"], precision_of(fabric)))

    def images_of(node: dict[str, Any]) -> FutureImages:
        label = make_sampler(node, model).label(model)
        return FutureImages(options["num_images"], images_suffix(label, trained))

    return Subject(
        fabric=fabric,
        run_dir=Path(options["run_dir"]),
        seed=options["seed"],
        images=images_of(options["sampler"]),
        images_within=lambda calls: images_of(options_within(options["sampler"], model, calls)),
        split=options["split"],
        cache=Path(options["cache"]).expanduser(),
        trained=trained,
    )


@runtime_checkable
class NamesResults(Protocol):
    """A metric that lists the names of its results before it measures them."""

    def result_names(self, subject: Subject) -> list[str]: ...


@dataclass
class FutureImages(ImageSet):
    """The images that a model will generate after its training. Metrics can be checked with them, but not measured."""

    n: int
    suffix: str

    def __post_init__(self) -> None:
        self.origin: dict[str, Any] = {}

    def batches(self) -> Iterator[Pixels]:
        raise NotImplementedError("the images do not exist before training")
