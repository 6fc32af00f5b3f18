"""What evaluate.py does: a checkpoint, or images, in; results.json out."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from ddpm_lightning.configuration.build import (
    MODEL_PARTS,
    check_compile,
    compile_network,
    make,
    make_sampler,
    with_variance,
)
from ddpm_lightning.errors import UserError, check_boolean, check_whole
from ddpm_lightning.evaluation.fabric import precision_of
from ddpm_lightning.evaluation.generated_shards import GeneratedShards, digest
from ddpm_lightning.evaluation.image_sets import Generated, Given, ImageSet
from ddpm_lightning.evaluation.parts import check_whole_set
from ddpm_lightning.evaluation.split_share import check_split
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.image_files.decoding import check_background
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.processes import is_first
from ddpm_lightning.runtime.results import device_name, provenance, tell, with_warnings, write_results
from ddpm_lightning.training.checkpoint import CONFIG, load_model

log = logging.getLogger(__name__)


def measure_all(config: dict[str, Any], results: dict[str, Any], after_each: Callable[[], None]) -> dict[str, Any]:
    """Every metric that is not in results["evaluated"], one after another; results.json, which holds the results too,
    is written after each. Returns what was found, on the first process."""
    nodes = {name: node for name, node in config["metrics"].items() if node is not None}
    metrics = {name: make(node) for name, node in nodes.items() if name not in results["evaluated"]}
    if not metrics:
        return {}
    fabric = make(config["trainer"], Fabric)
    subject = make_subject(config, fabric)
    if config.get("parts") is not None and isinstance(subject.images, Generated):
        check_whole_set(subject.images.shards, config["num_images"], config["parts"], config["batch_size"])
    failed: Failed = {} if config.get("one_by_one") else None
    metrics = check_metrics(metrics, subject, failed)
    fabric.launch()
    if subject.trained is not None:
        subject.trained.model.to(fabric.device)
        compile_network(subject.trained.model, config["compile"])
    found: dict[str, Any] = {}
    for name, metric in metrics.items():
        new: dict[str, Any] = {}
        with costing_only(name, failed if fabric.world_size == 1 else None):
            new = metric.measure(subject)
        if name in (failed or {}):
            continue
        found |= new
        record = {name: {"asked": asked_for(config, name), "names": list(new)}}
        results = {
            **results,
            "metrics": with_warnings({**results["metrics"], **new}),
            "evaluated": {**results["evaluated"], **record},
        }
        if fabric.is_global_zero:
            write_results(subject.run_dir / "results.json", {**results, **provenance(config["seed"])})
        after_each()
    if fabric.is_global_zero:
        tell(found)
        log.info("Written to %s", relative(subject.run_dir / "results.json"))
    tell_failed(failed)
    return found


Failed = dict[str, UserError] | None
"""What could not be had, by name, and why; None where the first mistake ends the command."""


@contextmanager
def costing_only(name: str, failed: Failed) -> Iterator[None]:
    """Inside, a UserError costs only what has this name: it is told and noted, unless `failed` is None."""
    try:
        yield
    except UserError as error:
        if failed is None:
            raise
        failed[name] = error
        log.warning("%s is left out: %s", name, error)


def tell_failed(failed: Failed) -> None:
    """Raises UserError with all that could not be had."""
    if failed:
        raise UserError("; ".join(f"{name} is left out: {error}" for name, error in failed.items()))


def asked_for(config: dict[str, Any], name: str) -> dict[str, Any]:
    """All that the numbers of a metric depend on, besides the model and its seed; as JSON has it."""
    options = {key: config[key] for key in ("sampler", "num_images", "split", "use_ema")}
    asked = {"metric": config["metrics"][name], **options, "precision": config["trainer"].get("precision")}
    return dict(json.loads(json.dumps(asked)))


def check_metrics(metrics: dict[str, Any], subject: Subject, failed: Failed = None) -> dict[str, Any]:
    """Those that can be had, by name. Raises UserError where one of them cannot, before hours go by; where failures are
    to be noted, only if all cannot."""
    for name, metric in metrics.items():
        with costing_only(name, failed):
            metric.check(subject)
    possible = {name: metric for name, metric in metrics.items() if name not in (failed or {})}
    if not possible:
        tell_failed(failed)
    if is_first():  # the others would look at the same
        for metric in possible.values():
            metric.look(subject)
    return possible


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError where evaluate.py's own options cannot work."""
    if config["checkpoint"] is None and config["images"] is None:
        raise UserError("nothing to evaluate; add checkpoint=PATH, or images=FOLDER with reference=")
    if config["checkpoint"] is None and config.get("variance") is not None:
        raise UserError("variance= is of a model, and only images were given; leave it out, or add checkpoint=PATH")
    if not any((config.get("metrics") or {}).values()):
        raise UserError("no metric asked for; add metrics=[bpd] or others of: python evaluate.py --help")
    check_whole("num_images", config["num_images"], 1, "the paper has 50000")
    check_whole("batch_size", config["batch_size"], 1, "give a number of images to make at once")
    check_whole("seed", config["seed"], 0, "it numbers the randomness; use 0")
    check_boolean("use_ema", config["use_ema"], "leave it out for the averaged weights")
    check_compile(config["compile"])
    check_split(config["split"])
    check_background("background", config.get("background", "white"))
    if config["reference"] is not None and not Path(config["reference"]).exists():
        raise UserError(f"there is no reference {Path(config['reference']).resolve()}; give a folder or an .npz")


def make_subject(config: dict[str, Any], fabric: Fabric) -> Subject:
    """What is to be evaluated, from the options."""
    trained = None if config["checkpoint"] is None else load(config, fabric)
    background = config.get("background", "white")
    if config["images"] is not None:
        images: ImageSet = Given(Path(config["images"]), background=background)
    else:
        assert trained is not None
        sampler = make_sampler(config["sampler"], trained.model)
        images = from_checkpoint(config, trained, sampler, fabric.device.type)
    return Subject(
        fabric=fabric,
        run_dir=Path(config["run_dir"]),
        seed=config["seed"],
        images=images,
        split=config["split"],
        cache=Path(config["cache"]).expanduser(),
        trained=trained,
        reference=None if config["reference"] is None else Path(config["reference"]),
        background=background,
    )


def load(config: dict[str, Any], fabric: Fabric) -> Trained:
    """The model of the checkpoint, with its weights, and its data."""
    elsewhere = {key: value for key, value in config.get("data", {}).items() if value is not None}
    path = Path(config["checkpoint"])
    checkpoint, data, trained = load_model(path, config["use_ema"], **elsewhere)
    model = with_variance(trained, config.get("variance"))
    swapped = "" if model is trained else f"_{model.variance.name}"
    precision = precision_of(fabric)
    origin = {
        "step": checkpoint["global_step"],
        "weights": "ema" if config["use_ema"] else "raw",
        "variance": model.variance.name,
        "data": type(data).__name__,
        "checkpoint": str(path),
        "precision": precision,
        "device": device_name(fabric.device),
        "compiled": config["compile"],
    }
    suffix = weights_suffix(config["use_ema"], precision)
    parts = {part: checkpoint[CONFIG][part] for part in MODEL_PARTS}
    return Trained(model, data, parts, origin, suffix, swapped)


def weights_suffix(use_ema: bool, precision: str) -> str:
    """What a result's name adds where the weights are not the averaged ones, or the precision is not float32."""
    return ("" if use_ema else "_raw") + ("" if precision == "32-true" else f"_{precision}")


def images_suffix(label: str, trained: Trained) -> str:
    """What the name of a result of images adds. label: of the sampler that made them."""
    return ("" if label == "ancestral" else f"_{label}") + trained.suffix


def from_checkpoint(
    config: dict[str, Any], trained: Trained, sampler: Any, device: str, shards: GeneratedShards | None = None
) -> Generated:
    """The images that the model makes. shards: where they are kept; None: in generated=, or beside the checkpoints."""
    swapped = trained.swapped_for(sampler)
    label = sampler.label(trained.model) + swapped  # raises where there is no such chain
    step, weights = trained.origin["step"], trained.origin["weights"]
    name = f"step{step:07d}_{weights}_{label}_seed{config['seed']}"
    beside = Path(config["checkpoint"]).parent.parent / "generated" / name
    return Generated(
        model=trained.model,
        data=trained.data,
        sampler=sampler,
        shards=shards or GeneratedShards(Path(config["generated"] or beside)),
        recipe={
            "weights_sha256": digest(trained.model.state_dict()),
            "model": {**trained.parts, **({"variance": config["variance"]} if swapped else {})},
            "sampler": config["sampler"],
            "seed": config["seed"],
            "precision": trained.origin["precision"],
            "device": device,  # a CPU draws other noise than a GPU
        },
        n=config["num_images"],
        batch_size=config["batch_size"],
        seed=config["seed"],
        suffix=images_suffix(label, trained),
        origin={
            "sampler": config["sampler"],
            "sampler_steps": sampler.chain(trained.model).process.T,
            "sampler_calls": sampler.calls(trained.model),
            "image_seed": config["seed"],
            **trained.origin,
        },
    )
