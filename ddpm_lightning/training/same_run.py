"""Which keys of the configuration a resumed run may change, and which make it another run."""

import hashlib
import json
import os
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

from ddpm_lightning.configuration.arguments import default_arguments
from ddpm_lightning.configuration.build import MODEL_PARTS
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.runtime.command_line import option
from ddpm_lightning.runtime.devices import check_precision, choose_accelerator
from ddpm_lightning.training.checkpoint import CONFIG


class Effect(Enum):
    """What another value of a key does to a run that is resumed with it."""

    ANOTHER_RUN = auto()
    """The weights or their average would mix two runs: a resume is refused."""

    MAY_CHANGE = auto()
    """Training draws and learns the same; its length, numbers, pictures, speed or rounding differ: a resume says so."""

    CANNOT_MATTER = auto()
    """Only where files lie, and how they are read or reported."""


_ANOTHER_RUN = (
    *(*MODEL_PARTS, "data", "loss", "timesteps", "optimizer", "module", "seed"),
    *("callbacks.ema", "trainer.precision", "trainer.sync_batchnorm", "init_from", "init_use_ema"),
)
_MAY_CHANGE = (
    *("sampler", "metrics", "evaluation", "inception_weights", "compile", "optimizer.fused", "optimizer.foreach"),
    *("module.max_skipped", "module.test_strata"),
    *("callbacks.metrics", "callbacks.loss_by_t", "callbacks.bound", "callbacks.quality", "callbacks.grid"),
    *("callbacks.strip", "callbacks.schedule_plot", "callbacks.loss_curve", "callbacks.checkpoint"),
    *("callbacks.overfit", "objective"),
    *("trainer.max_steps", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("trainer.accumulate_grad_batches", "trainer._target_", "trainer.min_steps", "trainer.max_time"),
    *("trainer.deterministic", "trainer.benchmark", "trainer.inference_mode", "trainer.detect_anomaly"),
    "trainer.profiler",
)
_CANNOT_MATTER = (
    *("data.root", "data.num_workers", "data.eval_batch_size", "network.activation_checkpointing"),
    *("logger", "callbacks.progress", "run_dir", "trainer.run_dir", "resume", "evaluation.cache"),
)

EFFECTS = {
    **dict.fromkeys(_ANOTHER_RUN, Effect.ANOTHER_RUN),
    **dict.fromkeys(_MAY_CHANGE, Effect.MAY_CHANGE),
    **dict.fromkeys(_CANNOT_MATTER, Effect.CANNOT_MATTER),
}
"""The effect of each key, or of all keys below it for which nothing else is said."""


def effect_of(key: str) -> Effect | None:
    """The effect of a key, such as callbacks.ema.decay; None for one that only the user knows."""
    while key not in EFFECTS and "." in key:
        key = key.rpartition(".")[0]
    return EFFECTS.get(key)


class Difference(NamedTuple):
    """A key that has another value in the checkpoint than in this command."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key} ({_briefly(self.before)} before, {_briefly(self.now)} now)"

    @property
    def is_of_a_part(self) -> bool:
        """Whether a part was exchanged, left out or added, and not a number changed."""
        return isinstance(self.before, dict) or isinstance(self.now, dict)


def check_same_run(checkpoint: dict[str, Any], config: dict[str, Any], path: Path) -> list[Difference]:
    """Returns the keys that a resume changes and may change.

    Raises UserError where one makes another run and config["resume"]["allow"] does not name it, or where the
    checkpoint is of no run.
    """
    if "optimizer_states" not in checkpoint:
        raise UserError(
            f"{path} was written by convert.py: it holds weights, but no optimizer and no options of a run to resume; "
            f"start a run from its weights with {option('init_from', path)} and another hydra.run.dir"
        )
    found = sorted(differences(settled(checkpoint[CONFIG]), config), key=lambda each: each.key.count("."))
    forbidden = [each for each in found if effect_of(each.key) is Effect.ANOTHER_RUN and not _is_allowed(each, config)]
    if forbidden:
        raise UserError(_refusal(path, forbidden))
    return [each for each in found if effect_of(each.key) is not Effect.CANNOT_MATTER]


def lets_training_go_on(difference: Difference) -> bool:
    """Whether a run that a callback ended trains further because of this change: of the number of steps, of a callback
    of the user's own, or of what resume.allow names."""
    is_length = difference.key in ("trainer.max_steps", "trainer.min_steps")
    return is_length or effect_of(difference.key) is not Effect.MAY_CHANGE


def check_allowed(config: dict[str, Any]) -> None:
    """Raises UserError where resume.allow names what is no key of the configuration."""
    allowed = config["resume"]["allow"]
    if not isinstance(allowed, list):
        raise UserError(f"resume.allow={shown(allowed)} is no list of keys; give one as [optimizer.lr]")
    for key in allowed:
        node, (*above, name) = config, str(key).split(".")
        for part in above:
            node = node.get(part) if isinstance(node, dict) else {}  # type: ignore[assignment]
        if not isinstance(node, dict) or name not in {**default_arguments(node.get("_target_")), **node}:
            raise UserError(f"resume.allow names {key}, which is no key of the configuration; give one as optimizer.lr")


def _is_allowed(difference: Difference, config: dict[str, Any]) -> bool:
    return not difference.is_of_a_part and difference.key in config.get("resume", {}).get("allow", [])


def _refusal(path: Path, forbidden: list[Difference]) -> str:
    (key, before, now), keys = forbidden[0], [each.key for each in forbidden]
    others = f", and another {shown(', '.join(keys[1:]))}" if keys[1:] else ""
    change = f"resume.allow=[{','.join(keys)}] to change it from here on, "
    return (
        f"{path} is of a run with another {key} ({_briefly(before)}) than this one's ({_briefly(now)}){others}; give "
        f"that run's options to resume it, {'' if any(each.is_of_a_part for each in forbidden) else change}or another "
        "hydra.run.dir to start anew"
    )


def settled(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with trainer.precision=auto as what it stands for on this machine, and init_from as a whole
    path; with a checkpoint's, what it is too old to have."""
    config = {"init_from": None, "init_use_ema": True, **config}
    if config["init_from"] is not None:
        config["init_from"] = os.path.abspath(os.path.expanduser(str(config["init_from"])))
    trainer = config.get("trainer")
    if not isinstance(trainer, dict) or "precision" not in trainer:
        return config
    precision = check_precision(trainer["precision"], choose_accelerator(trainer.get("accelerator", "auto")))
    return {**config, "trainer": {**trainer, "precision": precision}}


def differences(before: Any, now: Any, key: str = "") -> Iterator[Difference]:
    """The keys with different values. An option that is not there has its constructor's default: so a checkpoint that
    is older than an option is resumed."""
    if isinstance(before, dict) and isinstance(now, dict) and before.get("_target_") == now.get("_target_"):
        before, now = ({**default_arguments(node.get("_target_")), **node} for node in (before, now))
        for name in {**before, **now}:
            yield from differences(before.get(name), now.get(name), _join(key, name))
    elif before != now and repr(before) != repr(now):  # NaN equals nothing
        yield Difference(key, before, now)


def fingerprint(config: dict[str, Any]) -> str:
    """The same for two configurations of the same run."""
    choices = dict(_choices(config))
    return hashlib.sha256(json.dumps(choices, sort_keys=True, default=str).encode()).hexdigest()


def _choices(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that makes another run, by its key; without defaults, so that a new option changes nothing."""
    if isinstance(node, dict):
        defaults = default_arguments(node.get("_target_"))
        for name, value in node.items():
            if name not in defaults or defaults[name] != value:
                yield from _choices(value, _join(key, name))
    elif effect_of(key) is Effect.ANOTHER_RUN:
        yield key, node


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else str(name)


def _briefly(value: Any) -> str:
    """A value as one types it; of a node the name of its class."""
    if isinstance(value, dict) and "_target_" in value:
        return str(value["_target_"]).rpartition(".")[2]
    return shown(json.dumps(value, default=str))


EARLIER_PARTS = (*MODEL_PARTS, "data", "loss", "timesteps", "optimizer", "module", "seed")
EARLIER_HARMLESS = {"root", "num_workers", "eval_batch_size", "test_strata", "max_skipped", "activation_checkpointing"}


def earlier_fingerprint(config: dict[str, Any]) -> str:
    """The fingerprint that version 0.1 kept with a run that diverged."""
    parts = {part: config.get(part) for part in EARLIER_PARTS}
    choices = {
        part: {k: v for k, v in node.items() if k not in EARLIER_HARMLESS} if isinstance(node, dict) else node
        for part, node in parts.items()
    }
    return hashlib.sha256(json.dumps(choices, sort_keys=True, default=str).encode()).hexdigest()
