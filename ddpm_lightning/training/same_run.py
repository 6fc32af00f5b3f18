"""Compares the configuration of a resumed run with its checkpoint's, and refuses changes that make it another run."""

import hashlib
import json
import os
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

from ddpm_lightning.configuration.arguments import default_arguments
from ddpm_lightning.configuration.build import MODEL_PARTS, UNCONDITIONAL
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.metrics.extractor import INCEPTION
from ddpm_lightning.runtime.command_line import option
from ddpm_lightning.runtime.devices import check_precision, choose_accelerator
from ddpm_lightning.training.checkpoint import CONFIG


class Effect(Enum):
    """What a changed configuration key does to a resumed run."""

    ANOTHER_RUN = auto()
    """The weights or their average would mix two runs. The resume is refused."""

    MAY_CHANGE = auto()
    """Training draws and learns the same. Its length, metrics, pictures, speed or rounding change: the run logs it."""

    CANNOT_MATTER = auto()
    """Only the location of files changes, or how they are read or reported."""


_ANOTHER_RUN = (
    *(*MODEL_PARTS, "data", "loss", "timesteps", "optimizer", "lr_schedule", "module", "seed"),
    *("conditioning", "callbacks.ema", "trainer.precision", "trainer.sync_batchnorm", "init_from", "init_use_ema"),
)
_MAY_CHANGE = (
    *("sampler", "metrics", "evaluation", "extractor", "inception_weights", "compile"),
    *("optimizer.fused", "optimizer.foreach"),
    *("module.max_skipped", "module.test_strata", "callbacks.ema.every_n_steps", "callbacks.ema.max_snapshots"),
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
    "conditioning.class_names",  # the data's own, which another check compares
)

ADDED = {
    "conditioning": UNCONDITIONAL,
    "lr_schedule": {"_target_": "ddpm_lightning.training.lr_schedules.ConstantLR"},
    "extractor": INCEPTION,
}
"""Groups that old checkpoints lack, and the options that do what was done before. No hash depends on these options."""

EFFECTS = {
    **dict.fromkeys(_ANOTHER_RUN, Effect.ANOTHER_RUN),
    **dict.fromkeys(_MAY_CHANGE, Effect.MAY_CHANGE),
    **dict.fromkeys(_CANNOT_MATTER, Effect.CANNOT_MATTER),
}
"""The effect of each key, and of all keys below it that have no entry of their own."""


def effect_of(key: str) -> Effect | None:
    """Returns the effect of a key such as callbacks.ema.decay, or None for a key of the user's own."""
    while key not in EFFECTS and "." in key:
        key = key.rpartition(".")[0]
    return EFFECTS.get(key)


class Difference(NamedTuple):
    """A configuration key whose value in the checkpoint (before) differs from that of this command (now)."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key} ({_briefly(self.before)} before, {_briefly(self.now)} now)"

    @property
    def exchanges_part(self) -> bool:
        """Whether a whole node was exchanged, removed or added, not a single value changed."""
        return isinstance(self.before, dict) or isinstance(self.now, dict)


def check_same_run(checkpoint: dict[str, Any], config: dict[str, Any], path: Path) -> list[Difference]:
    """Returns the changed keys of a resumed run that its log should mention.

    Args:
        checkpoint: the checkpoint that is resumed.
        config: the configuration of this command; its resume.allow lists keys that may change although they make
            another run.
        path: the path of the checkpoint, for error messages.

    Raises:
        UserError: if a changed key makes another run and resume.allow does not list it, or if the checkpoint has no
            optimizer state.
    """
    if "optimizer_states" not in checkpoint:
        raise UserError(
            f"{path} was written by convert.py: it has weights, but no optimizer state to resume; start a run from its "
            f"weights with {option('init_from', path)} and another hydra.run.dir"
        )
    found = sorted(differences(normalized(checkpoint[CONFIG]), config), key=lambda each: each.key.count("."))
    forbidden = [each for each in found if effect_of(each.key) is Effect.ANOTHER_RUN and not _is_allowed(each, config)]
    if forbidden:
        raise UserError(_refusal(path, forbidden))
    return [each for each in found if effect_of(each.key) is not Effect.CANNOT_MATTER]


def allows_more_training(difference: Difference) -> bool:
    """Returns whether a run that a callback ended trains further because of this change.

    That is a change of the number of steps, of the user's own callbacks, or of a key that resume.allow lists.
    """
    is_length = difference.key in ("trainer.max_steps", "trainer.min_steps")
    return is_length or effect_of(difference.key) is not Effect.MAY_CHANGE


def check_allowed(config: dict[str, Any]) -> None:
    """Raises UserError if resume.allow lists something that is no key of the configuration."""
    resume = config["resume"]
    if not isinstance(resume, dict) or "allow" not in resume:
        raise UserError(f"resume={shown(resume)} has no list of keys; write it like resume.allow=[optimizer.lr]")
    allowed = resume["allow"]
    if not isinstance(allowed, list):
        raise UserError(f"resume.allow={shown(allowed)} is not a list of keys; write it like [optimizer.lr]")
    for key in allowed:
        node, (*above, name) = config, str(key).split(".")
        for part in above:
            node = node.get(part) if isinstance(node, dict) else {}  # type: ignore[assignment]
        if not isinstance(node, dict) or name not in {**default_arguments(node.get("_target_")), **node}:
            raise UserError(
                f"resume.allow names {key}, which is not a key of the configuration; write it like optimizer.lr"
            )


def _is_allowed(difference: Difference, config: dict[str, Any]) -> bool:
    return not difference.exchanges_part and difference.key in config.get("resume", {}).get("allow", [])


def _refusal(path: Path, forbidden: list[Difference]) -> str:
    (key, before, now), keys = forbidden[0], [each.key for each in forbidden]
    others = f", and another {shown(', '.join(keys[1:]))}" if keys[1:] else ""
    change = f"resume.allow=[{','.join(keys)}] to change it from here on, "
    change = "" if any(each.exchanges_part for each in forbidden) else change
    return (
        f"{path} is of a run with another {key} ({_briefly(before)}) than this one's ({_briefly(now)}){others}; give "
        f"that run's options to resume it, {change}or another hydra.run.dir to start a new run"
    )


def normalized(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration in the form in which two are compared.

    trainer.precision=auto becomes the precision that this machine uses, and init_from an absolute path. Keys that an
    old checkpoint lacks get their defaults.
    """
    config = {"init_from": None, "init_use_ema": True, **ADDED, **config}
    if config["init_from"] is not None:
        config["init_from"] = os.path.abspath(os.path.expanduser(str(config["init_from"])))
    trainer = config.get("trainer")
    if not isinstance(trainer, dict) or "precision" not in trainer:
        return config
    precision = check_precision(trainer["precision"], choose_accelerator(trainer.get("accelerator", "auto")))
    return {**config, "trainer": {**trainer, "precision": precision}}


def differences(before: Any, now: Any, key: str = "") -> Iterator[Difference]:
    """Yields the keys whose values differ between two configurations.

    A missing option has its constructor's default, so that a checkpoint that is older than an option can be resumed.

    Args:
        before: the configuration of the checkpoint, or a node of it.
        now: the configuration of this command, or the same node of it.
        key: the key of the node; "" for the root.
    """
    if isinstance(before, dict) and isinstance(now, dict) and before.get("_target_") == now.get("_target_"):
        before, now = ({**default_arguments(node.get("_target_")), **node} for node in (before, now))
        for name in {**before, **now}:
            yield from differences(before.get(name), now.get(name), _join(key, name))
    elif before != now and repr(before) != repr(now):  # NaN differs from NaN
        yield Difference(key, before, now)


def fingerprint(config: dict[str, Any]) -> str:
    """Returns a hash that is equal for two configurations if they are of the same run."""
    choices = dict(_choices(dict(item for item in config.items() if item not in ADDED.items())))
    return hashlib.sha256(json.dumps(choices, sort_keys=True, default=str).encode()).hexdigest()


def _choices(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the keys and values that make another run; without defaults, so that a new option changes no hash."""
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
    """Returns a value as the user types it, or the class name of a node."""
    if isinstance(value, dict) and "_target_" in value:
        return str(value["_target_"]).rpartition(".")[2]
    return shown(json.dumps(value, default=str))


_PARTS_0_1 = (*MODEL_PARTS, "data", "loss", "timesteps", "optimizer", "module", "seed")
_IGNORED_0_1 = {"root", "num_workers", "eval_batch_size", "test_strata", "max_skipped", "activation_checkpointing"}


def earlier_fingerprint(config: dict[str, Any]) -> str:
    """Returns the hash of a configuration that version 0.1 stored in the results of a diverged run."""
    parts = {part: config.get(part) for part in _PARTS_0_1}
    choices = {
        part: {k: v for k, v in node.items() if k not in _IGNORED_0_1} if isinstance(node, dict) else node
        for part, node in parts.items()
    }
    return hashlib.sha256(json.dumps(choices, sort_keys=True, default=str).encode()).hexdigest()
