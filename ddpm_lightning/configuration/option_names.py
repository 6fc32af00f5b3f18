"""Refuses options that a command does not read, and suggests the nearest names that it does."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from ddpm_lightning.configuration.full_keys import full_key
from ddpm_lightning.configuration.groups import GROUPS, no_such_group
from ddpm_lightning.configuration.other_names import has, note_on, options_named
from ddpm_lightning.errors import UserError, near_names

Node = Mapping[Any, Any]


def check_names(command: str, typed: list[str], composed: Node, known: Node, groups: Collection[str]) -> None:
    """Raises UserError if + adds a name that the command does not read, or ~ removes one that it reads.

    Args:
        command: The name of the command.
        typed: The options, as typed.
        composed: The configuration with all options.
        known: The configuration of the command without options.
        groups: The groups of the command, including those without a chosen option.
    """
    for override in OverridesParser.create().parse_overrides(typed):
        path = path_of(override)
        if override.is_delete() and path[0] in known and path[0] not in composed:
            raise UserError(f"~{path[0]} removes what the command reads; give {path[0]}= another value instead")
        if (override.is_add() or override.is_force_add()) and path[0] in composed:
            if override.key_or_group in GROUPS and path[0] not in {*groups, *known}:
                raise UserError(no_such_group(command, override.key_or_group))
            _check_added(path, composed, dict.fromkeys(groups) | dict(known))


def path_of(override: Override) -> list[str]:
    """Returns the path of an option in the configuration; an option of a group stands under the group's name."""
    return (override.package or override.key_or_group).replace("/", ".").split(".")


def is_typed(key: str) -> bool:
    """Returns whether the command line gives this key a value; else the value is a default of a file."""
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(each.lstrip("+").partition("=")[0] == key for each in typed)


def chosen_option(path: str, composed: Node) -> str:
    """Returns the option of a group in which a key lies, such as "network=dit"; "this command" if it lies in none."""
    keys = path.split(".")
    groups = ("/".join(keys[:depth]) for depth in range(len(keys) - 1, 0, -1))
    choices = composed["hydra"]["runtime"]["choices"]
    return next((f"{group}={choices[group]}" for group in groups if choices.get(group)), "this command")


def unknown_name(
    path: str, siblings: Iterable[Any], known: Node, place: str = "this command", typed: str = ""
) -> UserError:
    """Returns the error for an option that the command does not have.

    Args:
        path: The full key of the option, such as the misspelt network.depht.
        siblings: The names that exist beside it, such as depth.
        known: The configuration of the command.
        place: What lacks the name, such as "network=dit".
        typed: The key that the user typed, if it is longer than `path`: evaluation.num_images for evaluation.
    """
    above, _, name = path.rpartition(".")
    inside = typed.removeprefix(f"{path}.")
    elsewhere = [*options_named(name, known), *([inside] if has(known, inside) else [])]
    near = [full_key(above, each) for each in near_names(name, map(str, siblings))]
    likely = list(dict.fromkeys([*elsewhere, *near]))[:3]
    hint = f"did you mean {' or '.join(likely)}?" if likely else "leave it out"
    return UserError(f"{typed or path} is no option of {place}; {hint} (--help lists them){note_on(likely)}")


def unknown_option(path: str, known: Node, is_null: bool, typed: str = "") -> UserError:
    """Returns the error for a value of an option that the command does not have.

    Args:
        path: The full key of the option.
        known: The configuration of the command.
        is_null: Whether the value is null, which leaves out a callback or another part.
        typed: The key that the user typed, if it is longer than `path`.
    """
    above, _, name = path.rpartition(".")
    siblings: Any = known
    for key in above.split(".") if above else ():
        siblings = siblings.get(key) if isinstance(siblings, dict) else None
    if siblings is None:
        return UserError(f"{path} has no place, because {above} is null with these options; leave it out")
    names = siblings if isinstance(siblings, dict) else {}
    if is_null and above and "_target_" not in names:
        return UserError(f"{path}=null leaves nothing out: {above} has no {name}, but {', '.join(names) or 'nothing'}")
    return unknown_name(path, names, known, chosen_option(path, known), typed)


def _check_added(path: list[str], whole: Node, command: Node) -> None:
    known: Any = command
    composed: Any = whole
    for depth, name in enumerate(path):
        if not isinstance(known, dict) or "_target_" in known or name.endswith("_logging"):
            return  # a class checks its own arguments, and users name loggers
        composed = composed.get(name) if isinstance(composed, dict) else None
        if name not in known and (depth == 0 or not _is_part(composed)):
            unknown = ".".join(path[: depth + 1])
            raise unknown_name(unknown, known, command, chosen_option(unknown, whole), ".".join(path))
        known = known.get(name)


def _is_part(node: Any) -> bool:
    """Returns whether a node can be added to the callbacks or loggers: it builds an object, or is null."""
    return node is None or (isinstance(node, dict) and "_target_" in node)
