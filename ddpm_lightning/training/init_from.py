"""Starts a new run from the weights of a checkpoint (init_from=PATH)."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from ddpm_lightning.configuration.build import MODEL_PARTS
from ddpm_lightning.errors import UserError, check_boolean, shown
from ddpm_lightning.training.callbacks.ema import WeightAverage
from ddpm_lightning.training.checkpoint import CONFIG, model_weights, read_checkpoint
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.same_run import differences

log = logging.getLogger(__name__)

Event = dict[str, Any]
"""An entry of the run's history in its checkpoints and results.json."""


def start_from(config: dict[str, Any], module: DDPM, callbacks: Iterable[L.Callback]) -> list[Event]:
    """Copies the weights of the checkpoint config["init_from"] into a new run's model and its average.

    A weight is copied if the model has one of its name and shape. The log names the others.

    Args:
        config: the run's configuration; "init_use_ema" chooses averaged or raw weights.
        module: the module of the new run.
        callbacks: the run's callbacks; an EMA callback starts its average from the copied weights.

    Returns:
        The events for the run's history: one that describes the copied weights, or none without init_from.

    Raises:
        UserError: if the checkpoint cannot be read, or no weight fits.
    """
    if config["init_from"] is None:
        return []
    use_ema = config["init_use_ema"]
    check_boolean("init_use_ema", use_ema, "true starts from averaged weights, false from raw ones")
    path = Path(config["init_from"])
    checkpoint = read_checkpoint(path)
    event = {
        "step": 0,
        "init_from": str(path),
        "weights": "ema" if use_ema else "raw",
        "of_step": checkpoint["global_step"],
        **_fill(module, model_weights(checkpoint, use_ema, option="init_use_ema"), path),
    }
    _tell(event, _other_parts(checkpoint[CONFIG], config))
    for callback in callbacks:
        if isinstance(callback, WeightAverage):
            callback.start(module)
    return [event]


def _fill(module: DDPM, weights: dict[str, Tensor], path: Path) -> Event:
    own = module.model.state_dict()
    fitting = {name: weight for name, weight in weights.items() if name in own and weight.shape == own[name].shape}
    if not fitting:
        raise UserError(
            f"init_from={path} has no weight whose name and shape fit this model; choose the network= that it was "
            "trained with"
        )
    module.model.load_state_dict({**own, **fitting})
    return {
        "taken": len(fitting),
        "not_taken": sorted(weights.keys() - fitting.keys()),
        "initialized": sorted(own.keys() - fitting.keys()),
    }


def _other_parts(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    parts = [part for part in MODEL_PARTS if part != "network"]
    return [str(each) for part in parts for each in differences(theirs[part], ours[part], part)]


def _tell(event: Event, other_parts: Sequence[str]) -> None:
    log.info("Starting from the %s weights of %s, step %d", event["weights"], event["init_from"], event["of_step"])
    theirs, ours = set(event["not_taken"]), set(event["initialized"])
    for reason, names in (
        ("Not copied, because the model has no weight of this name", theirs - ours),
        ("Not in the checkpoint, so initialized at random", ours - theirs),
        ("Of another shape in the checkpoint, so initialized at random", theirs & ours),
    ):
        if names:
            log.warning("%s: %s", reason, shown(", ".join(sorted(names))))
    if other_parts:
        log.warning("These weights were trained with another %s", ", another ".join(other_parts))
