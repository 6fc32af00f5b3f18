"""Measures metrics of a checkpoint or of images, and writes results.json."""

import json
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from ddpm_lightning.configuration.build import check_compile, compile_network, make, make_node, make_sampler
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError, check_boolean, check_whole
from ddpm_lightning.evaluation.conditional.wanted import Wanted, check_effect, check_wanted, wanted_of
from ddpm_lightning.evaluation.generated_shards import GeneratedShards, check_whole_set, digest
from ddpm_lightning.evaluation.image_sets import Generated, Given, ImageSet
from ddpm_lightning.evaluation.split_share import check_split
from ddpm_lightning.evaluation.subject import Subject, Trained, load_trained
from ddpm_lightning.image_files.decoding import check_background
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.processes import is_first
from ddpm_lightning.runtime.results import Records, log_results, provenance, with_warnings, write_results
from ddpm_lightning.training.post_hoc_ema.profiles import check_length

log = logging.getLogger(__name__)


def measure_all(config: dict[str, Any], results: dict[str, Any], after_each: Callable[[], None]) -> dict[str, Any]:
    """Measures the metrics that the results lack, one after another, and writes results.json after each.

    Every process calls it.

    Args:
        config: the options of evaluate.py.
        results: the results so far, {"metrics": records by name, "evaluated": options by metric, ...}.
        after_each: called after each metric.

    Returns:
        The new records by name, on the first process.

    Raises:
        UserError: if a metric cannot be measured; with one_by_one, after all others are measured.
    """
    metrics = make_metrics(config, measured=results["evaluated"])
    if not metrics:
        return {}
    fabric = make_node(config, "trainer", Fabric)
    subject = make_subject(config, fabric)
    if config.get("parts") is not None and isinstance(subject.images, Generated):
        check_whole_set(subject.images.shards, config["num_images"], config["parts"], config["batch_size"])
    failed: Failed = {} if config.get("one_by_one") else None
    if failed is None and not results["evaluated"]:  # or a metric that is measured already may depend on them
        check_effect(metrics, subject.images)
    metrics = check_metrics(metrics, subject, failed)
    fabric.launch()
    if subject.trained is not None:
        subject.trained.model.to(fabric.device)
        compile_network(subject.trained.model, config["compile"])
    found: dict[str, Records] = {}
    for name, metric in metrics.items():
        with leaving_out(name, failed if fabric.world_size == 1 else None):
            found[name] = metric.measure(subject)
        if name in found:
            results = _with_records(results, config, name, found[name])
            if fabric.is_global_zero:
                write_results(subject.run_dir / "results.json", {**results, **provenance(config["seed"])})
            after_each()
    records = {name: record for each in found.values() for name, record in each.items()}
    if fabric.is_global_zero:
        log_results(records)
        log.info("Written to %s", relative(subject.run_dir / "results.json"))
    raise_failed(failed)
    return records


def make_metrics(config: dict[str, Any], measured: Collection[str] = ()) -> dict[str, Any]:
    """Returns the metrics that the options choose by name, without those that are measured already."""
    group = config.get("metrics_group", "metrics")
    nodes = {name: node for name, node in config["metrics"].items() if node is not None and name not in measured}
    return {name: make(node, key=f"{group}.{name}") for name, node in nodes.items()}


def _with_records(results: dict[str, Any], config: dict[str, Any], name: str, records: Records) -> dict[str, Any]:
    """Returns the results with the records of one metric, and with its options in "evaluated"."""
    evaluated = {name: {"asked": options_of_metric(config, name), "names": list(records)}}
    return {
        **results,
        "metrics": with_warnings({**results["metrics"], **records}),
        "evaluated": {**results["evaluated"], **evaluated},
    }


Failed = dict[str, UserError] | None
"""The errors of the metrics that are left out, by name; None if the first error ends the command."""


@contextmanager
def leaving_out(name: str, failed: Failed) -> Iterator[None]:
    """Turns a UserError inside into a warning and an entry of `failed`, unless `failed` is None."""
    try:
        yield
    except UserError as error:
        if failed is None:
            raise
        failed[name] = error
        log.warning("%s is left out: %s", name, error)


def raise_failed(failed: Failed) -> None:
    """Raises one UserError for all metrics that were left out, if any, with each reason once."""
    if failed:
        same = {str(e): [name for name in failed if str(failed[name]) == str(e)] for e in failed.values()}
        raise UserError("; ".join(f"{', '.join(n)} {'are' if n[1:] else 'is'} left out: {e}" for e, n in same.items()))


def options_of_metric(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the options that a metric's results depend on, except the model and the seed, as JSON reads them."""
    options = {key: config[key] for key in ("sampler", "num_images", "split", "use_ema")}
    if config.get("ema_length") is not None:
        options["ema_length"] = config["ema_length"]
    asked = {"metric": config["metrics"][name], **options, "precision": config["trainer"].get("precision")}
    return dict(json.loads(json.dumps(asked)))


def check_metrics(metrics: dict[str, Any], subject: Subject, failed: Failed = None) -> dict[str, Any]:
    """Checks before any work that metrics can be measured.

    Args:
        metrics: the metrics by name.
        subject: what they are measured on.
        failed: collects the errors by name; None raises the first error.

    Returns:
        The metrics that can be measured, by name.

    Raises:
        UserError: if a metric cannot be measured; if `failed` is given, only if none can.
    """
    for name, metric in metrics.items():
        with leaving_out(name, failed):
            if failed is not None:
                check_effect({name: metric}, subject.images)
            metric.check(subject)
    possible = {name: metric for name, metric in metrics.items() if name not in (failed or {})}
    if not possible:
        raise_failed(failed)
    if is_first():  # the others would check the same files
        for metric in possible.values():
            metric.check_images(subject)
    return possible


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError if an option of evaluate.py is out of bounds or does not go with another."""
    if config["checkpoint"] is None and config["images"] is None:
        raise UserError("nothing to evaluate; add checkpoint=PATH, or images=FOLDER with reference=")
    if config["checkpoint"] is None and config.get("variance") is not None:
        raise UserError("variance= needs a model, but only images were given; leave it out, or add checkpoint=PATH")
    check_wanted(config)
    if not any((config.get("metrics") or {}).values()):
        raise UserError("no metric asked for; add metrics=[bpd] or others that python evaluate.py --help lists")
    check_whole("num_images", config["num_images"], 1, "the paper has 50000")
    check_generation(config)
    check_split(config["split"])
    check_background("background", config.get("background", "white"))
    if config["reference"] is not None and not Path(config["reference"]).exists():
        raise UserError(f"there is no reference {Path(config['reference']).resolve()}; give a folder or an .npz")


def check_generation(config: dict[str, Any]) -> None:
    """Raises UserError if an option is out of bounds that says how images are generated from a checkpoint."""
    check_whole("batch_size", config["batch_size"], 1, "give a number of images to generate at once")
    check_whole("seed", config["seed"], 0, "it numbers the randomness; use 0")
    check_boolean("use_ema", config["use_ema"], "leave it out for the averaged weights")
    if config.get("ema_length") is not None:
        check_length("ema_length", config["ema_length"])
        if not config["use_ema"]:
            raise UserError("ema_length= asks for averaged weights and use_ema=false for raw ones; leave one out")
    check_compile(config["compile"])


def make_subject(config: dict[str, Any], fabric: Fabric) -> Subject:
    """Returns the subject that the options of evaluate.py describe."""
    trained = None if config["checkpoint"] is None else load_trained(config, fabric)
    background = config.get("background", "white")
    if config["images"] is not None:
        images: ImageSet = Given(Path(config["images"]), background=background)
    else:
        assert trained is not None
        sampler = make_sampler(config["sampler"], trained.model)
        images = from_checkpoint(config, trained, sampler, fabric.device.type)
    subject = Subject(
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
    if trained is not None:
        # cached, because each set of images takes a checksum of all weights
        subject.images_within = cache(partial(images_within, config, trained, fabric.device.type))
    return subject


def images_within(config: dict[str, Any], trained: Trained, device: str, calls: int) -> Generated:
    """Returns the images that the sampler of the options generates within this many network calls per image."""
    node = options_within(config["sampler"], trained.model, calls)
    beside_checkpoint = {**config, "sampler": node, "generated": None}
    return from_checkpoint(beside_checkpoint, trained, make_sampler(node, trained.model), device)


def options_within(node: dict[str, Any], model: DenoisingDiffusion, calls: int) -> dict[str, Any]:
    """Returns a sampler's options with num_steps set to the most steps within this many network calls per image.

    Raises:
        UserError: if a single step needs more calls.
    """
    traits = make_sampler(node, model).traits
    num_steps = min(traits.steps_within(calls), model.process.T)
    if num_steps < 1:
        raise UserError(f"{calls} network calls are too few for a step of this sampler; allow {traits.calls(1)}")
    return {**node, "num_steps": num_steps}


def images_suffix(label: str, trained: Trained) -> str:
    """Returns the suffix of a result's name for generated images. `label` is that of the sampler."""
    return ("" if label == "ancestral" else f"_{label}") + trained.suffix


def from_checkpoint(
    config: dict[str, Any], trained: Trained, sampler: Any, device: str, shards: GeneratedShards | None = None
) -> Generated:
    """Returns the set of images that the model generates.

    Args:
        config: the options of evaluate.py or sample.py.
        trained: the model.
        sampler: generates the images.
        device: type of the device, "cpu" or "cuda".
        shards: the folder of the images; None for generated=, or a folder beside the checkpoints.

    Raises:
        UserError: if the model lacks the steps that the sampler needs.
    """
    label = sampler.label(trained.model)  # raises UserError if the model has no such chain
    wanted = wanted_of(config, trained)
    named = label + trained.variance_suffix_of(sampler) + wanted.suffix
    return Generated(
        model=trained.model,
        data=trained.data,
        sampler=sampler,
        shards=shards or GeneratedShards(Path(config["generated"] or beside_checkpoints(config, trained, named))),
        recipe=recipe_of_images(config, trained, sampler, device, wanted),
        n=config["num_images"],
        batch_size=config["batch_size"],
        seed=config["seed"],
        suffix=images_suffix(named, trained),
        origin={**origin_of_images(config, trained, sampler), **wanted.facts},
        **wanted.choices,
    )


def beside_checkpoints(config: dict[str, Any], trained: Trained, label: str) -> Path:
    """Returns the folder for images in the run of the checkpoint. `label` is that of the sampler and its variance."""
    step, weights = trained.origin["step"], trained.origin["weights"]
    run = Path(config["checkpoint"]).parent.parent
    return run / "generated" / f"step{step:07d}_{weights}_{label}_seed{config['seed']}"


def recipe_of_images(
    config: dict[str, Any], trained: Trained, sampler: Any, device: str, wanted: Wanted
) -> dict[str, Any]:
    """Returns the recipe of images: all that determines them, so other values give other images."""
    variance = {"variance": config["variance"]} if trained.variance_suffix_of(sampler) else {}
    return {
        "weights_sha256": digest(wanted.guidance.guide(trained.model).state_dict()),
        "model": {**trained.parts, **variance},
        "sampler": {**config["sampler"], **wanted.facts},
        "seed": config["seed"],
        "precision": trained.origin["precision"],
        "device": device,  # CPU and GPU draw different noise
    }


def origin_of_images(config: dict[str, Any], trained: Trained, sampler: Any) -> dict[str, Any]:
    """Returns what each result in results.json records about images: the facts of the model, and the sampler's."""
    return {
        "sampler": config["sampler"],
        "sampler_steps": sampler.chain(trained.model).process.T,
        "sampler_calls": sampler.calls(trained.model),
        "image_seed": config["seed"],
        **trained.origin,
    }
