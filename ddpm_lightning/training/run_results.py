"""Reads and writes a run's results.json, and sends its results to the loggers."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from PIL import Image

from ddpm_lightning.errors import Diverged
from ddpm_lightning.runtime.command_line import command_for, option, relative
from ddpm_lightning.runtime.moved_names import current_names
from ddpm_lightning.runtime.processes import is_first
from ddpm_lightning.runtime.results import Records, log_results, provenance, with_warnings, write_results
from ddpm_lightning.runtime.run_files.metrics_rows import METRICS_FILE
from ddpm_lightning.runtime.run_files.run_state import ENDED_EARLY, TRAINING
from ddpm_lightning.training.callbacks.checkpoints import best_record, keeps_checkpoints, last_checkpoint
from ddpm_lightning.training.callbacks.ema import keeps_average
from ddpm_lightning.training.callbacks.periodic import PeriodicMeasurement
from ddpm_lightning.training.callbacks.resuming import history_of
from ddpm_lightning.training.callbacks.stop import ended_early
from ddpm_lightning.training.callbacks.trainer_state import callbacks_of
from ddpm_lightning.training.loggers.all_loggers import log_picture
from ddpm_lightning.training.loggers.media import media_of
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.same_run import earlier_fingerprint, fingerprint

log = logging.getLogger(__name__)


def results_of(config: dict[str, Any]) -> Path:
    """Returns the path of the run's results.json."""
    return Path(config["run_dir"]) / "results.json"


def read_results(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the contents of results.json, or {} if the run has none or the file is damaged."""
    try:
        results = current_names(json.loads(results_of(config).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
    return results if isinstance(results, dict) else {}


def end_record(trainer: L.Trainer) -> dict[str, Any]:
    """Returns the entries of results.json on whether the training is finished, and whether a callback ended it."""
    record = {"step": trainer.global_step, "max_steps": trainer.max_steps}
    by_callback = ended_early(trainer)
    finished = by_callback or trainer.global_step >= trainer.max_steps
    return {TRAINING: {"finished": finished, **record}, **({ENDED_EARLY: record} if by_callback else {})}


def forget_end(config: dict[str, Any]) -> None:
    """Removes the entries of `end_record` from results.json, when the run trains further."""
    results = read_results(config)
    further = {key: value for key, value in results.items() if key not in (TRAINING, ENDED_EARLY)}
    if is_first() and further != results:
        write_results(results_of(config), further)


def reason_of_divergence(config: dict[str, Any]) -> str | None:
    """Returns why this run diverged, or None if it did not or results.json is of another run."""
    diverged = read_results(config).get("diverged")
    if not isinstance(diverged, dict) or diverged.get("of") not in (fingerprint(config), earlier_fingerprint(config)):
        return None
    return str(diverged.get("reason"))


@contextmanager
def recording_divergence(config: dict[str, Any], trainer: L.Trainer) -> Iterator[None]:
    """Writes to results.json when and why the run diverged, if the code inside raises Diverged."""
    try:
        yield
    except Diverged as error:
        if is_first():
            step = trainer.global_step if error.step is None else error.step
            record = {"step": step, "reason": str(error), "of": fingerprint(config)}
            known = {"metrics": {}, **read_results(config)}
            write_results(
                results_of(config), {**known, "diverged": record, **provenance(config["seed"]), **history_of(trainer)}
            )
        raise


def report(config: dict[str, Any], module: DDPM, trainer: L.Trainer, kept: dict[str, Any]) -> dict[str, Any]:
    """Writes results.json after the test, and logs the results.

    Args:
        config: the run's configuration.
        module: the tested module.
        trainer: the trainer that has tested it.
        kept: earlier results of the same model, as {"metrics": {...}, ...}; they replace new ones of the same name.

    Returns:
        The results, with those that were kept.
    """
    tested = test_result(module, trainer)
    found = {**tested, **last_measured(trainer)}
    metrics = with_warnings({**found, **kept["metrics"]})
    results = {**kept, "metrics": metrics, **best_record(trainer), **end_record(trainer)}
    write_results(results_of(config), {**results, **provenance(config["seed"]), **history_of(trainer)})
    log_values(trainer, tested)
    log_results(found)
    if best := results.get("best"):
        log.info("%(checkpoint)s is of step %(step)d: %(metric)s=%(value).5g", best)
    _log_files(Path(config["run_dir"]), trainer)
    return results


def _log_files(run_dir: Path, trainer: L.Trainer) -> None:
    """Logs the run's folder, its picture of samples and the command that samples from its checkpoint."""
    checkpoint, picture = last_checkpoint(run_dir), run_dir / "samples" / "grid_final.png"
    how = ""
    if keeps_checkpoints(trainer) and checkpoint.exists():
        how = f" Sample from it with: {command_for('sample.py')} {option('checkpoint', relative(checkpoint))}"
    shown = f" Its samples: {relative(picture)}." if picture.is_file() else ""
    log.info("The run lies in %s.%s%s", relative(run_dir), shown, how)


def log_values(trainer: L.Trainer, found: dict[str, Any]) -> None:
    """Logs the values of the records to every logger, at the trainer's optimizer step."""
    for logger in trainer.loggers:
        logger.log_metrics({name: record["value"] for name, record in found.items()}, step=trainer.global_step)


@contextmanager
def sending_files(trainer: L.Trainer) -> Iterator[None]:
    """Sends the run's files to the loggers on exit, also after an exception."""
    try:
        yield
    finally:
        send_files(trainer)


def send_files(trainer: L.Trainer) -> None:
    """Sends results, the pictures of the bound and, if asked for, the checkpoint to the loggers that take files."""
    run_dir = Path(trainer.default_root_dir)
    if not trainer.is_global_zero:
        return
    for path in sorted(run_dir.glob("bound_*.png")):
        with Image.open(path) as image:
            log_picture(trainer, "test/bound", image.copy())
    for logger in trainer.loggers:
        media = media_of(logger)
        media.keep_files("results", [run_dir / name for name in ("results.json", METRICS_FILE, "train.log")])
        media.keep_checkpoint(last_checkpoint(run_dir))


def test_result(module: DDPM, trainer: L.Trainer) -> Records:
    """Returns the estimated bound of the test split in bits/dim as {name: record}, for results.json."""
    variance = module.model.variance.name
    record = {
        **module.bound.stated(),
        "unit": "bits/dim",
        "estimator": f"L_T exact, one draw of t in each of {module.test_strata} strata, p(t) ∝ 1/t",
        "clip_x_0": True,
        "variance": variance,
        "split": "test",
        "num_images": module.bound.count,
        "levels": module.model.levels,
        "step": trainer.global_step,
        "weights": "ema" if keeps_average(trainer) else "raw",
        "precision": str(trainer.precision),
    }
    return {test_name(module, keeps_average(trainer)): record}


def test_name(module: DDPM, averaged: bool) -> str:
    """Returns the name of the test split's bits/dim in results.json, such as test/bpd_beta_estimate.

    Args:
        module: the tested module.
        averaged: whether it ran on averaged weights; else the name says "raw".
    """
    return f"test/bpd_{module.model.label}{'' if averaged else '_raw'}_estimate"


def last_measured(trainer: L.Trainer) -> Records:
    """Returns the newest records of all callbacks that measure during training, by name."""
    found: Records = {}
    for callback in callbacks_of(trainer, PeriodicMeasurement):  # type: ignore[type-abstract]
        found |= callback.records
    return found
