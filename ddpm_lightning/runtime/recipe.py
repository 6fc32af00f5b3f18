"""What the files of a folder are made of: the same command goes on with them, and no other does."""

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
    """Raises UserError where the folder is there and of another recipe. option: the one that names the folder."""
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
    """Starts the folder, if it is not there. Raises UserError where that cannot be, or it is of another recipe. Of
    several jobs that start it at once, one does, and the others find it.

    holds_images: whether there are some, which a recipe must belong to."""
    check_recipe(folder, recipe, option)
    if (folder / RECIPE).exists():
        return
    if holds_images:
        raise UserError(f"{folder} holds images but no {RECIPE} that says of what; choose {option}PATH")
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
