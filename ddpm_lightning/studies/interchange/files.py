"""Reads JSON, safetensors and PyTorch files of other projects. No file can run code."""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.training.checkpoint import without_prefixes


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file. Raises UserError if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({shown(error)}); take a whole folder") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no JSON object; take a whole folder")
    return found


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Returns the tensors of a safetensors file by name, and its metadata. Raises UserError if it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return without_prefixes(load_file(path)), metadata
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({shown(error)}); take another file") from error


def read_pickle(path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file by torch.save, by name.

    Raises:
        UserError: The file cannot be read, or holds something else than tensors by name.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} holds more than tensors, and the rest could run any program; take another") from error
    except Exception as error:  # a damaged file can raise nearly anything in zipfile and torch
        raise UserError(f"{path} cannot be read as a PyTorch file ({shown(error)}); take another file") from error
    if not isinstance(found, dict) or not all(isinstance(w, torch.Tensor) for w in found.values()):
        raise UserError(f"{path} holds no tensors by name; take a state_dict")
    return without_prefixes({str(name): weight for name, weight in found.items()})
