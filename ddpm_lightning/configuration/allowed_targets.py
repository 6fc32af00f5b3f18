"""Restricts what a configuration may build: a `_target_` names code, and a configuration can come from anyone."""

import importlib
import inspect
import os
from collections.abc import Iterator
from typing import Any

from ddpm_lightning.errors import UserError

OURS = "ddpm_lightning"

LIBRARY_MODULES = (
    *("torch.optim", "wandb.sdk.wandb_settings", "datetime"),
    *("lightning.pytorch.callbacks", "lightning.pytorch.loggers"),
    *("lightning.pytorch.profilers", "lightning.pytorch.strategies", "optuna.samplers"),
)
"""Modules of libraries whose classes a configuration may name."""

IMPORTABLE = (*LIBRARY_MODULES, "wandb")
"""Modules of libraries that may be imported to find a class, because importing runs code."""

MODEL_ROOMS = tuple(f"{OURS}.{room}" for room in ("diffusion", "networks", "data"))
"""The rooms whose classes the configuration in a checkpoint may name."""

TRUSTED_BASES = (*MODEL_ROOMS, "torch.nn", "lightning.pytorch.core.datamodule")
"""Modules with the base classes of model parts. A checkpoint may name a trusted package's class if it has one."""

TRUST = "DDPM_LIGHTNING_TRUST"
"""The environment variable with the packages that the user trusts, separated by commas. No file can set it."""


def check_buildable(node: Any) -> None:
    """Raises UserError if a configuration names code that is neither ours, nor a known library's, nor trusted."""
    for target in _targets(node, "the configuration"):
        if not (_is_trusted(target) or _is_ours(target) or _is_class_in(target, IMPORTABLE, LIBRARY_MODULES)):
            raise UserError(
                f"the configuration asks to build {target!r}, which is neither a class or function of {OURS} nor a "
                "class of the libraries that it builds with, and a shared configuration could run any program that "
                f"way; if it exists and you trust its package, set {TRUST}={str(target).partition('.')[0]} python …"
            )


def check_model_parts(node: Any, source: str) -> None:
    """Raises UserError if a configuration from a file names anything but model parts, ours or of a trusted package.

    Args:
        node: The configuration.
        source: The file, for the message.
    """
    for target in _targets(node, source):
        if not (_is_class_in(target, MODEL_ROOMS, MODEL_ROOMS) or _is_trusted_part(target)):
            raise UserError(
                f"{source} asks to build {target!r}, which is no part of a model; if it is your own network, start the "
                f"command with {TRUST}={str(target).partition('.')[0]}; else do not use the file"
            )


def _targets(node: Any, source: str) -> Iterator[Any]:
    """Yields every `_target_` in a node. Raises UserError for an interpolation, which could become one later."""
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
    """Returns the class or function that a target names; None if its package is unknown to this project."""
    return _find(target, (OURS, *IMPORTABLE))


def _is_trusted(target: Any) -> bool:
    packages = [package.strip() for package in os.environ.get(TRUST, "").split(",")]
    return isinstance(target, str) and any(_inside(target, package) for package in packages if package)


def _is_trusted_part(target: Any) -> bool:
    found = _find(target, (target.partition(".")[0],)) if _is_trusted(target) else None
    bases = inspect.getmro(found) if inspect.isclass(found) else ()
    return any(_inside(base.__module__, home) for base in bases for home in TRUSTED_BASES)


def _is_ours(target: Any) -> bool:
    # A class, a maker or a function of a model part, but nothing that writes files or starts programs.
    found = _find(target, (OURS,))
    if inspect.isfunction(found):
        is_maker = found.__name__.startswith("make_")
        return (is_maker and _inside(found.__module__, OURS)) or any(_inside(found.__module__, r) for r in MODEL_ROOMS)
    return inspect.isclass(found) and _inside(found.__module__, OURS)


def _is_class_in(target: Any, importable: tuple[str, ...], homes: tuple[str, ...]) -> bool:
    """Returns whether a `_target_` names a class that one of the modules `homes` defines itself.

    What they only import does not count: `ddpm_lightning.data.digits.torch.load` is a function of PyTorch.
    """
    found = _find(target, importable)
    return inspect.isclass(found) and any(_inside(found.__module__, home) for home in homes)


def _find(target: Any, importable: tuple[str, ...]) -> Any:
    """Returns the object that a `_target_` names; None if it does not exist, or lies outside the importable modules."""
    if not isinstance(target, str) or not any(_inside(target, module) for module in importable):
        return None
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):  # ValueError: there is no name before the dot
        return None


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")
