"""Checks the values in a configuration against the annotations of the classes that it builds.

pydantic cannot do it, because arguments are still nodes of the configuration, not objects. Structured configs would
need a second declaration of every argument beside the constructor's, and classes of users and libraries have none.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ddpm_lightning.configuration.allowed_targets import find_known
from ddpm_lightning.configuration.full_keys import full_key
from ddpm_lightning.configuration.groups import GROUPS
from ddpm_lightning.errors import UserError, shown

HYDRA_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
"""The keys of a node that Hydra itself reads."""


def check_arguments(node: Any, key: str = "") -> None:
    """Raises UserError if a value in a node, or in one inside it, does not fit its target's annotation.

    Args:
        node: A part of the configuration.
        key: Its key, for the message.
    """
    if isinstance(node, list | tuple):
        for item in node:
            check_arguments(item, key)
    elif isinstance(node, dict):
        target = find_known(node.get("_target_"))
        hints = _hints(target)
        _check_names(node, target, key)
        for name, value in node.items():
            check_arguments(value, full_key(key, name))
            if not fits(value, hints.get(name, Any)):
                raise UserError(_misfit(full_key(key, name), value, hints[name]))


def _check_names(node: Mapping[str, Any], target: Any, key: str) -> None:
    try:
        taken = inspect.signature(target).parameters
    except (TypeError, ValueError):  # not known here, or written in C
        return
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    unknown = [name for name in node if name not in taken and name not in HYDRA_KEYS]
    if unknown and not open_ended:
        name = full_key(key, unknown[0])
        raise UserError(f"{name} is no option: {node['_target_']} takes {', '.join(taken) or 'none'}; leave it out")


def _misfit(key: str, value: Any, hint: Any) -> str:
    group = key.replace(".", "/")
    words = f"{key}={shown(value)} does not fit, because {key} takes {described(hint)}"
    if group != key and group in GROUPS and isinstance(value, str):
        return f"{words}; choose an option of the group with {group}={value}"
    is_list = list in {get_origin(each) for each in (hint, *get_args(hint))}
    return f"{words}; write {key}=[{shown(value)}]" if is_list and fits([value], hint) else words


_WORDS = {int: "whole number", float: "number", str: "text"}
_SINGLE_VALUES = {bool: "true or false", NoneType: "null"}


def described(hint: Any) -> str:
    """Returns an annotation in words: "a whole number or null"."""
    origin, inner = get_origin(hint), [each for each in get_args(hint) if each is not ...]
    if origin in (Union, UnionType):
        return " or ".join(map(described, inner))
    if origin in (list, tuple, Sequence):
        return f"[{', '.join(map(described, inner))}]" if len(inner) > 1 else f"a list of {_word(inner[0])}s"
    return _SINGLE_VALUES.get(hint) or f"a {_word(hint)}"


def _word(hint: Any) -> str:
    return _WORDS.get(hint) or str(getattr(hint, "__name__", hint))


def fits(value: Any, hint: Any) -> bool:
    """Returns whether a plain value, or the object that a node builds, fits an annotation. Unknown ones fit all."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and _items_fit(value, hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, NoneType):
        return isinstance(value, hint)
    if origin is Callable:
        return isinstance(value, dict) and value.get("_partial_") is True
    return hint in (Any, object) or not inspect.isclass(hint) or _builds(value, hint)


def _items_fit(values: Sequence[Any], hint: Any) -> bool:
    kinds = [kind for kind in get_args(hint) if kind is not ...] or [Any]
    if len(kinds) > 1:
        return len(values) == len(kinds) and all(fits(*pair) for pair in zip(values, kinds, strict=True))
    return all(fits(value, kinds[0]) for value in values)


def _builds(value: Any, kind: type) -> bool:
    if not isinstance(value, dict) or "_target_" not in value:
        return isinstance(value, kind)
    made = find_known(value["_target_"])
    return not inspect.isclass(made) or issubclass(made, kind)


def default_arguments(target: Any) -> dict[str, Any]:
    """Returns the plain default values of a target's arguments, including those of its base classes."""
    found: dict[str, Any] = {}
    for maker in _makers(find_known(target)):
        given = {name: each.default for name, each in inspect.signature(maker).parameters.items()}
        found |= {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return {name: value for name, value in found.items() if isinstance(value, str | int | float | list | NoneType)}


def _makers(target: Any) -> list[Callable[..., Any]]:
    """Returns the functions that take a target's arguments, also of base classes, to which it may pass some on."""
    found = [vars(base).get("__init__") for base in reversed(target.__mro__)] if inspect.isclass(target) else [target]
    return [maker for maker in found if inspect.isfunction(maker)]


def _hints(target: Any) -> Mapping[str, Any]:
    """Returns the annotations of a target's arguments."""
    hints: dict[str, Any] = {}
    for maker in _makers(target):
        try:
            hints |= get_type_hints(maker)
        except (NameError, TypeError):  # a library that imports its types only for type checkers
            continue
    return hints
