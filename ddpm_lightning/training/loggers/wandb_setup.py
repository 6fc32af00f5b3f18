"""Prepares a W&B run: its folders, its id, its name and tags, and checks that W&B will accept it."""

import logging
import os
import secrets
from inspect import signature
from pathlib import Path
from typing import Any

import wandb
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import WandbLogger
from omegaconf import OmegaConf

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import SOURCE
from ddpm_lightning.runtime.processes import is_first
from ddpm_lightning.runtime.results import commit
from ddpm_lightning.runtime.run_directory import try_to_write

log = logging.getLogger(__name__)

TAGGED_GROUPS = ("data", "schedule", "parameterization", "variance", "loss", "sampler", "network")
"""The configuration groups whose chosen options become tags of the W&B run."""

MAX_NAME_LENGTH = 128
"""Characters in a run's name that W&B's server accepts."""

KNOWN_OPTIONS = {*signature(wandb.init).parameters, *signature(WandbLogger).parameters, "upload_checkpoint"}
"""The options of `make_wandb_logger`: those of W&B, of Lightning's WandbLogger, and ours."""


def wandb_folder(save_dir: str) -> str:
    """Returns the folder for W&B's files: WANDB_DIR, or save_dir if it is not set or if an agent of W&B started us."""
    # An agent sets WANDB_DIR to a folder of its own, which is not the user's choice.
    given = None if "WANDB_SWEEP_ID" in os.environ else os.environ.get("WANDB_DIR")
    return given or save_dir


def choose_folders(save_dir: Path) -> None:
    """Makes W&B write its log and its artifacts to the run directory, if it cannot write to the home folder."""
    usual = {wandb.env.CACHE_DIR: wandb.env.get_cache_dir(), wandb.env.DATA_DIR: Path(wandb.env.get_data_dir())}
    for name, folder in usual.items():
        if not is_writable(folder):
            os.environ[name] = str((save_dir / "wandb" / "files").absolute())


def is_writable(folder: Path) -> bool:
    """Returns whether files can be written to a folder. Creates the folder if it is missing."""
    try:
        try_to_write(folder)
    except OSError:
        return False
    return True


def name_repository(settings: wandb.Settings | None) -> None:
    """Makes W&B record the repository of this package instead of the one around the working folder."""
    if settings is None or settings.git_root is not None or "WANDB_GIT_ROOT" in os.environ:
        return
    settings.git_root = str(SOURCE)
    if commit() is None:
        settings.disable_git = True


def check_options(options: dict[str, Any]) -> None:
    """Raises UserError for an option or a project name that W&B would refuse later, in the background."""
    for name in options.keys() - KNOWN_OPTIONS:
        raise UserError(f"logger.wandb.{name} is not an option of W&B; python train.py --help shows the usual ones")
    try:
        wandb.Settings(project=options.get("project"))
    except (wandb.errors.UsageError, ValueError) as error:
        raise UserError(f"logger.wandb.project: {error}; choose another name") from error


def check_key() -> None:
    """Raises UserError if W&B would ask for a key, which it cannot do in the background."""
    try:
        known = os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun") or wandb.login(
            prompt=False, verify=False
        )
    except Exception as error:  # usually about the form of the key
        raise UserError(
            f"W&B does not accept its stored key ({error}); correct WANDB_API_KEY, or run wandb login --relogin"
        ) from error
    if not known:
        raise UserError("W&B online needs a key, and has none; run wandb login, or use logger=wandb_offline")


def run_id(save_dir: Path, asked: str | None = None) -> str | None:
    """Returns the id of the W&B run, and stores it in save_dir/wandb/run_id for when the run resumes.

    Args:
        save_dir: the folder of the run.
        asked: the id that an option or W&B's agent asks for; None takes the stored id, or a new one.

    Returns:
        The id on the first process, which alone logs, and None on the others. If the file cannot be written, `asked`.
    """
    if not is_first():
        return None
    path = save_dir / "wandb" / "run_id"
    try:
        known = path.read_text(encoding="utf-8") if path.exists() else None
        chosen = asked or known or secrets.token_hex(4)
        if chosen != known:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, chosen)
        return chosen
    except OSError as error:
        log.warning("%s cannot be written (%s); if this run is interrupted, it resumes as another W&B run", path, error)
        return asked


def labels(save_dir: Path) -> dict[str, Any]:
    """Returns the name, group and tags of a run, from the typed options, or those of a sweep's report."""
    if (save_dir / "multirun.yaml").is_file():
        return {"name": "report", "group": save_dir.resolve().name}
    if not HydraConfig.initialized():
        return {}
    hydra: Any = OmegaConf.to_container(HydraConfig.get(), resolve=False, enum_to_str=True)
    choices = hydra["runtime"]["choices"]
    found: dict[str, Any] = {
        "name": shortened(" ".join(hydra["overrides"]["task"])) or "default",
        "tags": [f"{group}:{choices[group]}" for group in TAGGED_GROUPS if choices.get(group)],
    }
    if hydra["mode"] == "MULTIRUN":
        above = Path(hydra["runtime"]["output_dir"]).parents  # the sweep is not always the direct parent
        found["group"] = next((folder for folder in above if (folder / "multirun.yaml").is_file()), above[0]).name
    return found


def shortened(name: str) -> str:
    """Returns a name without its middle if it is too long for W&B. The full name is in .hydra/overrides.yaml."""
    half = MAX_NAME_LENGTH // 2
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: half - 1]}…{name[-half:]}"
