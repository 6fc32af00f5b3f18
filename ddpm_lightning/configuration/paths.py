"""Resolves paths in options from the folder where the command was given, whatever folder it works in."""

import copy
import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import started_in
from ddpm_lightning.runtime.moved_names import current_names

IMAGE_PATHS = ("images", "generated", "reference", "data.root", "task.image", "task.mask")
WEIGHTS = ("inception_weights", "extractor.weights")
ABSOLUTE = (*IMAGE_PATHS, *WEIGHTS, "checkpoint", "init_from", "cache", "evaluation.cache", "variance.gamma")
"""Options that are paths. They become absolute, because a checkpoint keeps data.root, for instance."""

EXPANDED = ("into", "sweep", "run", "source.path", "target.path")
"""Options that are paths or, like source.path, names on a hub. Only ~ is expanded in them."""


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the configuration as a plain dict, resolved and with its paths expanded."""
    config = OmegaConf.to_container(with_paths(cfg), resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)
    config = current_names(config)
    return {str(key): value for key, value in config.items()}


def with_paths(cfg: DictConfig) -> DictConfig:
    """Returns a copy of the configuration with its paths expanded. Raises UserError for a path that is not a text."""
    cfg = copy.deepcopy(cfg)
    for key in (*ABSOLUTE, *EXPANDED):
        value = OmegaConf.select(cfg, key)
        if value is not None:
            OmegaConf.update(cfg, key, _expanded(key, value))
    return cfg


def _expanded(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(f"""{key}={value} is not read as a path; quote it twice: '{key}="{value}"'""")
    path = os.path.expanduser(value)
    return os.path.join(started_in(), path) if key in ABSOLUTE else path
