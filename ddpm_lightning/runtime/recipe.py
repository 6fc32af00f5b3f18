"""Keeps with a folder what its files are made of, so that only the same command resumes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_lightning.atomic_files import atomic_write, rename_if_absent
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.moved_names import current_names
from ddpm_lightning.runtime.results import as_json

RECIPE = "recipe.json"


def check_recipe(folder: Path, recipe: Mapping[str, Any], option: str) -> None:
    """Checks that a folder, if it exists, has this recipe.

    Args:
        folder: The folder.
        recipe: All values that the content of its files follows from, by their names.
        option: The option that names the folder, for the message.

    Raises:
        UserError: The folder has another recipe.
    """
    ours = json.loads(json.dumps(recipe))
    path = folder / RECIPE
    theirs = _read(path, option) if path.exists() else ours
    differing = [key for key in ours if theirs.get(key) != ours[key]]
    if differing:
        key = differing[0]
        raise UserError(
            f"{folder} holds images of another {key} ({theirs.get(key)}) than this command's ({ours[key]}); "
            f"choose another folder with {option}PATH, or delete it"
        )


def open_folder(folder: Path, recipe: Mapping[str, Any], option: str, holds_images: bool) -> None:
    """Makes the folder and writes its recipe, unless it has one. Several jobs may do so at once.

    Args:
        folder: The folder.
        recipe: All values that the content of its files follows from, by their names.
        option: The option that names the folder, for messages.
        holds_images: Whether the folder holds images already. Then it must have a recipe.

    Raises:
        UserError: The folder cannot be written, or its recipe is missing or another one.
    """
    check_recipe(folder, recipe, option)
    if (folder / RECIPE).exists():
        return
    if holds_images:
        raise UserError(f"{folder} holds images but no {RECIPE} that says what of; choose {option}PATH")
    try:
        _write(folder, recipe)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose {option}PATH") from error
    check_recipe(folder, recipe, option)


def _write(folder: Path, recipe: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / RECIPE, shared=True, rename=rename_if_absent) as file:
        file.write(as_json(dict(recipe)).encode())


def _read(path: Path, option: str) -> dict[str, Any]:
    try:
        return dict(current_names(json.loads(path.read_text(encoding="utf-8"))))
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); delete its folder, or choose another {option}PATH") from error
