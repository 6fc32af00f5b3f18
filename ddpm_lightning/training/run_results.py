"""What a run comes to: its results.json, after training, after each metric, or when it has diverged."""

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
from ddpm_lightning.runtime.results import provenance, tell, with_warnings, write_results
from ddpm_lightning.training.callbacks.checkpoints import best_kept, keeps_checkpoints, last_checkpoint
from ddpm_lightning.training.callbacks.ema import keeps_average
from ddpm_lightning.training.callbacks.periodic import PeriodicMeasurement
from ddpm_lightning.training.callbacks.resuming import history_of
from ddpm_lightning.training.callbacks.stop import ENDED_EARLY, ended_early
from ddpm_lightning.training.loggers.all_loggers import log_picture
from ddpm_lightning.training.loggers.media import media_of
from ddpm_lightning.training.loggers.metrics_csv import METRICS_FILE
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.same_run import earlier_fingerprint, fingerprint

log = logging.getLogger(__name__)


def results_of(config: dict[str, Any]) -> Path:
    """Where the run keeps its results."""
    return Path(config["run_dir"]) / "results.json"


def read_outcome(config: dict[str, Any]) -> dict[str, Any]:
    """What the run came to; nothing where it has not come to anything, or the file is damaged and to be made anew."""
    try:
        outcome = current_names(json.loads(results_of(config).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
    return outcome if isinstance(outcome, dict) else {}


def has_all_steps(outcome: dict[str, Any], max_steps: int) -> bool:
    """Whether every number is of a model that was trained for so many steps, and there are some."""
    try:
        return bool(min(record["step"] for record in outcome["metrics"].values()) >= max_steps)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def early_end(trainer: L.Trainer) -> dict[str, Any]:
    """Returns what results.json says of a run that a callback ended; {} for another."""
    record = {"step": trainer.global_step, "max_steps": trainer.max_steps}
    return {ENDED_EARLY: record} if ended_early(trainer) else {}


def forget_early_end(config: dict[str, Any]) -> None:
    """Removes from results.json that a callback ended the run, because it trains further now."""
    outcome = read_outcome(config)
    if is_first() and outcome.pop(ENDED_EARLY, None):
        write_results(results_of(config), outcome)


def wanted(config: dict[str, Any]) -> set[str]:
    """The metrics that are measured after training."""
    return {name for name, node in (config.get("metrics") or {}).items() if node is not None}


def reason_of_divergence(config: dict[str, Any]) -> str | None:
    """Why this very run diverged, if it did."""
    diverged = read_outcome(config).get("diverged")
    if not isinstance(diverged, dict) or diverged.get("of") not in (fingerprint(config), earlier_fingerprint(config)):
        return None
    return str(diverged.get("reason"))


@contextmanager
def recording_divergence(config: dict[str, Any], trainer: L.Trainer) -> Iterator[None]:
    """Inside, a run that diverges leaves word of when and why."""
    try:
        yield
    except Diverged as error:
        if is_first():
            step = trainer.global_step if error.step is None else error.step
            record = {"step": step, "reason": str(error), "of": fingerprint(config)}
            known = {"metrics": {}, **read_outcome(config)}
            write_results(
                results_of(config), {**known, "diverged": record, **provenance(config["seed"]), **history_of(trainer)}
            )
        raise


def report(config: dict[str, Any], module: DDPM, trainer: L.Trainer, kept: dict[str, Any]) -> dict[str, Any]:
    """Writes results.json, tells the loggers and the reader, and returns what stands there. kept: what was measured of
    this very model before."""
    tested = test_result(module, trainer)
    found = {**tested, **last_measured(trainer)}
    metrics = with_warnings({**found, **kept["metrics"]})
    results = {**kept, "metrics": metrics, **best_kept(trainer), **early_end(trainer)}
    write_results(results_of(config), {**results, **provenance(config["seed"]), **history_of(trainer)})
    log_values(trainer, tested)
    tell(found)
    if best := results.get("best"):
        log.info("%(checkpoint)s is of step %(step)d: %(metric)s=%(value).5g", best)
    run_dir = Path(config["run_dir"])
    checkpoint, picture = last_checkpoint(run_dir), run_dir / "samples" / "grid_final.png"
    how = ""
    if keeps_checkpoints(trainer) and checkpoint.exists():
        how = f" Sample from it with: {command_for('sample.py')} {option('checkpoint', relative(checkpoint))}"
    shown = f" Its samples: {relative(picture)}." if picture.is_file() else ""
    log.info("The run lies in %s.%s%s", relative(run_dir), shown, how)
    return results


def log_values(trainer: L.Trainer, found: dict[str, Any]) -> None:
    """Tells every logger, at the last step."""
    for logger in trainer.loggers:
        logger.log_metrics({name: record["value"] for name, record in found.items()}, step=trainer.global_step)


@contextmanager
def sending_files(trainer: L.Trainer) -> Iterator[None]:
    """After, however it ended, W&B has what files there are."""
    try:
        yield
    finally:
        send_files(trainer)


def send_files(trainer: L.Trainer) -> None:
    """Gives W&B the run's results, the pictures of its bound, and its checkpoint if that is asked for."""
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


def test_result(module: DDPM, trainer: L.Trainer) -> dict[str, dict[str, Any]]:
    """Bits/dim of the test split, and what it is a number of."""
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
    """The name of that number."""
    return f"test/bpd_{module.model.variance.name}{'' if averaged else '_raw'}_estimate"


def last_measured(trainer: L.Trainer) -> dict[str, dict[str, Any]]:
    """What the callbacks found last."""
    found: dict[str, dict[str, Any]] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, PeriodicMeasurement):
            found |= callback.records
    return found
