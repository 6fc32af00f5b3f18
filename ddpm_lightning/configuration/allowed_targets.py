"""What a configuration may have built: a `_target_` names code, and a configuration can come from anyone."""

import importlib
import inspect
import os
from collections.abc import Iterator
from typing import Any

from ddpm_lightning.errors import UserError

OURS = "ddpm_lightning"

LIBRARIES = (
    *("torch.optim", "wandb.sdk.wandb_settings", "datetime"),
    *("lightning.pytorch.callbacks", "lightning.pytorch.loggers"),
    *("lightning.pytorch.profilers", "lightning.pytorch.strategies", "optuna.samplers"),
)
"""Where the classes of others are defined that a configuration may name."""

PUBLIC = (*LIBRARIES, "wandb")
"""Modules that may be imported to look for them: importing runs code, too."""

MODEL_ROOMS = tuple(f"{OURS}.{room}" for room in ("diffusion", "networks", "data"))
"""Where the classes are defined that the configuration in a checkpoint may name."""

PARTS_OF_OTHERS = (*MODEL_ROOMS, "torch.nn", "lightning.pytorch.core.datamodule")
"""Where a base class of a trusted package's class must be defined, for a checkpoint to name that class."""

TRUST = "DDPM_LIGHTNING_TRUST"
"""The environment variable with the packages, separated by commas, that the user trusts. No file can set it."""


def check_buildable(node: Any) -> None:
    """Raises UserError where a node of the configuration would run code that nobody vouches for."""
    for target in _targets(node, "the configuration"):
        if not (_is_trusted(target) or _is_ours(target) or _is_class_in(target, PUBLIC, LIBRARIES)):
            raise UserError(
                f"the configuration asks to build {target!r}, which is neither a class or function of {OURS} nor a "
                "class of the libraries that it builds with, and a shared configuration could run any program so; if "
                f"it is there and you trust its package, say so: {TRUST}={str(target).partition('.')[0]} python …"
            )


def check_model_parts(node: Any, source: str) -> None:
    """Raises UserError where a configuration from a file names anything but model parts, of this project or of a
    package that the user trusts."""
    for target in _targets(node, source):
        if not (_is_class_in(target, MODEL_ROOMS, MODEL_ROOMS) or _is_trusted_part(target)):
            raise UserError(
                f"{source} asks to build {target!r}, which is no part of a model; if it is your own network, start the "
                f"command with {TRUST}={str(target).partition('.')[0]}; else do not use the file"
            )


def _targets(node: Any, source: str) -> Iterator[Any]:
    """Every `_target_` in a node. Raises UserError where that is not all: what is resolved later could name another."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for key, value in node.items():
            yield from _targets(key, source)
            yield from _targets(value, source)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _targets(item, source)
    elif isinstance(node, str) and "${" in node:
        raise UserError(f"{source} has an unresolved {node!r} in its configuration, which could read your environment")
    elif not isinstance(node, str | int | float | None):
        raise UserError(f"{source} has a {type(node).__name__} in its configuration, which no configuration has")


def find_known(target: Any) -> Any:
    """The class or function that a target names; None where that is of a package that only the user knows."""
    return _find(target, (OURS, *PUBLIC))


def _is_trusted(target: Any) -> bool:
    packages = [package.strip() for package in os.environ.get(TRUST, "").split(",")]
    return isinstance(target, str) and any(_inside(target, package) for package in packages if package)


def _is_trusted_part(target: Any) -> bool:
    found = _find(target, (target.partition(".")[0],)) if _is_trusted(target) else None
    bases = inspect.getmro(found) if inspect.isclass(found) else ()
    return any(_inside(base.__module__, home) for base in bases for home in PARTS_OF_OTHERS)


def _is_ours(target: Any) -> bool:
    # A class, a maker, or what reckons in a model: but nothing that writes files or starts programs.
    found = _find(target, (OURS,))
    if inspect.isfunction(found):
        is_maker = found.__name__.startswith("make_")
        return (is_maker and _inside(found.__module__, OURS)) or any(_inside(found.__module__, r) for r in MODEL_ROOMS)
    return inspect.isclass(found) and _inside(found.__module__, OURS)


def _is_class_in(target: Any, importable: tuple[str, ...], homes: tuple[str, ...]) -> bool:
    """Whether it is a class that is defined there, not merely reachable: `…data.digits.torch.load` must not pass."""
    found = _find(target, importable)
    return inspect.isclass(found) and any(_inside(found.__module__, home) for home in homes)


def _find(target: Any, importable: tuple[str, ...]) -> Any:
    """What the target names; None where that is nothing in these modules."""
    if not isinstance(target, str) or not any(_inside(target, module) for module in importable):
        return None
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):  # the latter where there is no name before the dot
        return None


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")
