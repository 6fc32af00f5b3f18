"""Paths in options are read from the folder where the command was given, whatever folder it works in."""

import copy
import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import started_in

OF_IMAGES = ("images", "generated", "reference", "data.root")
ABSOLUTE = (*OF_IMAGES, "checkpoint", "init_from", "cache", "evaluation.cache", "inception_weights")
"""Options that are paths. They are stored as absolute ones, for instance data.root in a checkpoint."""

AS_TYPED = ("into", "sweep", "source.path", "target.path")
"""Options that are paths or, as source.path can be, names on a hub; only ~ is expanded in them."""


def with_paths(cfg: DictConfig) -> DictConfig:
    """A copy of the configuration with its paths expanded. Raises UserError where one of them is no text."""
    cfg = copy.deepcopy(cfg)
    for key in (*ABSOLUTE, *AS_TYPED):
        value = OmegaConf.select(cfg, key)
        if value is not None:
            OmegaConf.update(cfg, key, _expanded(key, value))
    return cfg


def _expanded(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(f"""{key}={value} is read as another thing than a path; quote it twice: '{key}="{value}"'""")
    path = os.path.expanduser(value)
    return os.path.join(started_in(), path) if key in ABSOLUTE else path
