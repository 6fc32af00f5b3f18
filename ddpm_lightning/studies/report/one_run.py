"""Checks that the files in a run's directory belong to one run."""

from pathlib import Path
from typing import Any

from ddpm_lightning.configuration.paths import ABSOLUTE
from ddpm_lightning.errors import UserError
from ddpm_lightning.training.callbacks.checkpoints import last_checkpoint
from ddpm_lightning.training.checkpoint import read_config
from ddpm_lightning.training.same_run import Difference, Effect, differences, effect_of


def check_one_run(folder: Path, typed: dict[str, Any], outcome: dict[str, Any]) -> None:
    """Raises UserError if .hydra describes another run than results.json or the checkpoint.

    Args:
        folder: The run's directory.
        typed: The configuration in .hydra, not resolved.
        outcome: The contents of results.json.
    """
    seed = outcome.get("seed", typed["seed"])
    if seed != typed["seed"]:
        raise _of_two_runs("seed", typed["seed"], "results.json", seed)
    kept = read_config(last_checkpoint(folder))
    for each in differences(kept, typed) if kept else ():
        if effect_of(each.key) is Effect.ANOTHER_RUN and _is_literal(each):
            raise _of_two_runs(each.key, each.now, "the checkpoint", each.before)


def _is_literal(typed: Difference) -> bool:
    """Returns whether .hydra holds the value itself, not a stand-in: ${seed}, auto, or a relative path."""
    return typed.key not in ABSOLUTE and typed.now != "auto" and "${" not in str(typed.now)


def _of_two_runs(key: str, typed: Any, where: str, value: Any) -> UserError:
    return UserError(
        f".hydra says {key}={typed}, and {where} {key}={value}: two commands wrote here, and the numbers may be of "
        "either; run it again in a folder of its own"
    )
