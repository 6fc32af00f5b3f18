"""Keeps with a folder what its files are made of, so that only the same command resumes or extends it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ddpm_lightning.atomic_files import atomic_write, rename_if_absent, write_text
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.runtime.moved_names import current_names
from ddpm_lightning.runtime.results import as_json

RECIPE = "recipe.json"


class Differing(NamedTuple):
    """A value of a recipe that differs: its key, like sampler.eta, and both values."""

    key: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        theirs, ours = (shown(_named(value)) for value in (self.theirs, self.ours))
        return f"another {self.key} ({theirs}) than this command's ({ours})"


def _named(value: Any) -> Any:
    """Returns the name of the class that a node of a configuration builds, or the value itself if it builds none."""
    is_node = isinstance(value, dict) and "_target_" in value
    return str(value["_target_"]).rpartition(".")[2] if is_node else value


def check_same(
    folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any], option: str, what: str = "images"
) -> None:
    """Raises UserError if the files of a folder have another recipe than this command's.

    Args:
        folder: The folder.
        theirs: Its recipe, as JSON reads it. Keys that only this one has do not matter.
        ours: The recipe of this command: all values that the content of its files follows from, by their names.
        option: The option that names the folder, for the message.
        what: What the folder holds, for the message.
    """
    ours = json.loads(as_json(dict(ours)))
    found = [str(each) for key in ours for each in _differing(key, theirs.get(key), ours[key])]
    if found:
        raise UserError(
            f"{folder} holds {what} of {', '.join(found[:3])}; choose another folder with {option}PATH, or delete it"
        )


def _differing(key: str, theirs: Any, ours: Any) -> Iterator[Differing]:
    """Yields the values that differ. Of two classes, only their names, because other arguments follow from that."""
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        if theirs != ours:
            yield Differing(key, theirs, ours)
    elif theirs.get("_target_") != ours.get("_target_"):
        yield Differing(key, theirs, ours)
    else:
        for name in {**ours, **theirs}:
            yield from _differing(f"{key}.{name}", theirs.get(name), ours.get(name))


def check_recipe(
    folder: Path, recipe: Mapping[str, Any], option: str, what: str = "images", holds_files: bool = False
) -> None:
    """Raises UserError if the folder's recipe.json differs from `recipe`, or is missing beside files.

    Args:
        folder: The folder.
        recipe: All values that the content of its files follows from, by their names.
        option: The option that names the folder, for the message.
        what: What the folder holds, for the message.
        holds_files: Whether the folder holds such files already. Then it must have a recipe.
    """
    if (folder / RECIPE).exists():
        check_same(folder, read_recipe(folder, option), recipe, option, what)
    elif holds_files:
        raise UserError(
            f"{folder} holds {what} but no {RECIPE} that says what of; choose another folder with {option}PATH"
        )


def open_folder(folder: Path, recipe: Mapping[str, Any], option: str, holds_images: bool) -> None:
    """Creates the folder with its recipe.json, unless it has one. Several jobs may call this at once.

    Args:
        folder: The folder.
        recipe: All values that the content of its files follows from, by their names.
        option: The option that names the folder, for messages.
        holds_images: Whether the folder holds images already. Then it must have a recipe.

    Raises:
        UserError: The folder cannot be written, or its recipe is missing or another one.
    """
    check_recipe(folder, recipe, option, holds_files=holds_images)
    if (folder / RECIPE).exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / RECIPE, shared=True, rename=rename_if_absent) as file:
            file.write(as_json(dict(recipe)).encode())
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose {option}PATH") from error
    check_recipe(folder, recipe, option)


def write_recipe(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Writes recipe.json, which says what the files are made of, into a folder of finished files."""
    write_text(folder / RECIPE, as_json(dict(recipe)))


def read_recipe(folder: Path, option: str) -> dict[str, Any]:
    """Returns the contents of a folder's recipe.json, or {} if it has none. Raises UserError if it is damaged."""
    path = folder / RECIPE
    try:
        return dict(current_names(json.loads(path.read_text(encoding="utf-8")))) if path.exists() else {}
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); delete its folder, or choose another {option}PATH") from error
