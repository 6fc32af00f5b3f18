"""What train.py measures when it has trained (metrics=), as evaluate.py would."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
from lightning.fabric import Fabric

from ddpm_lightning.configuration.build import EvaluationData, make, make_sampler
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.fabric import precision_of
from ddpm_lightning.evaluation.image_sets import ImageSet
from ddpm_lightning.evaluation.measure import (
    asked_for,
    check_metrics,
    check_options,
    images_suffix,
    measure_all,
    weights_suffix,
)
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.training.callbacks.checkpoints import last_checkpoint
from ddpm_lightning.training.callbacks.stop import stop_if_asked
from ddpm_lightning.training.run_results import has_all_steps, read_results, wanted
from ddpm_lightning.typing import Pixels

MOVABLE = ("root", "num_workers", "eval_batch_size")
"""Options of the data that may be others than when training began."""


def options_of(config: dict[str, Any]) -> dict[str, Any]:
    """evaluate.py's options for the last checkpoint of a run of train.py."""
    callbacks, trainer = config["callbacks"] or {}, config["trainer"]
    if callbacks.get("checkpoint") is None:
        raise UserError("metrics= are measured on the last checkpoint, and callbacks.checkpoint=null keeps none")
    devices = {key: trainer[key] for key in ("accelerator", "devices", "num_nodes") if key in trainer}
    return {
        **{key: config[key] for key in ("metrics", "sampler", "seed", "run_dir", "compile")},
        **config["evaluation"],
        "checkpoint": str(last_checkpoint(config["run_dir"])),
        "use_ema": callbacks.get("ema") is not None,
        "data": {key: config["data"][key] for key in MOVABLE if key in config["data"]},
        "trainer": {**config["evaluation"]["trainer"], **devices},
        **dict.fromkeys(("images", "generated", "reference")),
    }


def measured_before(config: dict[str, Any], steps: int) -> dict[str, Any]:
    """Returns what results.json has of the model after this many steps, as {"metrics", "evaluated"}."""
    options, outcome = options_of(config), read_results(config)
    kept: dict[str, Any] = {"metrics": {}, "evaluated": {}}
    evaluated = outcome.get("evaluated")
    records: dict[str, Any] = evaluated if isinstance(evaluated, dict) else {}
    for name in sorted(wanted(config) & set(records)):
        record = records[name]
        metrics = {key: outcome.get("metrics", {}).get(key) for key in record["names"]}
        of_this_step = all(each and each["step"] == steps for each in metrics.values())
        if of_this_step and record["asked"] == asked_for(options, name):
            kept = {"metrics": {**kept["metrics"], **metrics}, "evaluated": {**kept["evaluated"], name: record}}
    return kept


def is_finished(config: dict[str, Any], steps: int) -> bool:
    """Whether the run has measured all that it is asked to after this many steps, which are all that it makes."""
    has_numbers = has_all_steps(read_results(config), steps)
    return has_numbers and (not wanted(config) or wanted(config) == set(measured_before(config, steps)["evaluated"]))


def evaluate_run(config: dict[str, Any], results: dict[str, Any], trainer: L.Trainer) -> dict[str, Any]:
    """Measures what is not in the results yet, and adds it to results.json. Returns what was found, on the first
    process. After each metric the run may be stopped."""
    return measure_all(options_of(config), results, after_each=lambda: stop_if_asked(trainer))


def check_evaluation(config: dict[str, Any], model: DenoisingDiffusion, data: EvaluationData) -> Sequence[str] | None:
    """Returns the names of what is to be measured after training; None where a metric of the user's own does not tell.

    Raises UserError where it cannot be measured, before training begins.
    """
    options = options_of(config)
    check_options(options)
    fabric = make(options["trainer"], Fabric)
    trained = Trained(model, data, {}, {}, weights_suffix(options["use_ema"], precision_of(fabric)))
    label = make_sampler(options["sampler"], model).label(model)
    subject = Subject(
        fabric=fabric,
        run_dir=Path(options["run_dir"]),
        seed=options["seed"],
        images=Promised(options["num_images"], images_suffix(label, trained)),
        split=options["split"],
        cache=Path(options["cache"]).expanduser(),
        trained=trained,
    )
    metrics = {name: make(node) for name, node in options["metrics"].items() if node is not None}
    check_metrics(metrics, subject)
    told = [each.result_names(subject) if isinstance(each, TellsNames) else None for each in metrics.values()]
    return None if None in told else [name for names in told for name in names or ()]


@runtime_checkable
class TellsNames(Protocol):
    """A metric that tells the names of its numbers before it measures them."""

    def result_names(self, subject: Subject) -> list[str]: ...


@dataclass
class Promised(ImageSet):
    """Images of a model that is yet to be trained."""

    n: int
    suffix: str

    def __post_init__(self) -> None:
        self.origin: dict[str, Any] = {}

    def check(self) -> None:
        """They will be there."""

    def open(self) -> None:
        """They will be there."""

    def prepare(self, fabric: Fabric) -> None:
        """They will be there."""

    def batches(self) -> Iterator[Pixels]:
        raise NotImplementedError("there are no images before training")
