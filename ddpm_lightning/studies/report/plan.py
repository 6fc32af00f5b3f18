"""Records the commands of a sweep, and the jobs that they ask for."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import override
from ddpm_lightning.runtime.private_parts import basic_sweeper
from ddpm_lightning.runtime.run_files.hydra_yaml import read_yaml
from ddpm_lightning.studies.runs.trained_run import command_of

PLAN = "plan.json"
"""The file of all commands of a sweep, [{"command", "jobs"}]. Hydra's multirun.yaml holds the last one only."""

Jobs = tuple[tuple[str, ...], ...]
"""The overrides of each job."""


def add_to_plan(folder: Path, hydra: dict[str, Any]) -> None:
    """Adds a command to the plan.json of a sweep's folder, before the command runs its jobs.

    Args:
        folder: The sweep's folder.
        hydra: The `hydra` node of the command's configuration.
    """
    path = folder / PLAN
    plan = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    entry = {"command": _typed(hydra), "jobs": _jobs(hydra)}
    if json.loads(json.dumps(entry)) not in plan:
        write_text(path, json.dumps([*plan, entry], indent=2) + "\n")


def read_plan(folder: Path) -> tuple[tuple[str, ...], Jobs | None]:
    """Returns the commands of a sweep and all their jobs, or None for the jobs if they are unknown.

    If there is no plan.json, they are read from Hydra's multirun.yaml.
    """
    if (folder / PLAN).is_file():
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        jobs = {tuple(job): None for entry in plan for job in entry["jobs"] or ()}
        return tuple(entry["command"] for entry in plan), tuple(jobs)
    if (folder / "multirun.yaml").is_file():
        hydra = read_yaml(folder / "multirun.yaml").get("hydra", {})
        return (_typed(hydra),), _jobs(hydra)
    return (), None


def overrides_in(folder: Path) -> list[tuple[str, ...]]:
    """Returns the overrides of the job whose .hydra folder this is, as a list of one; [] if they cannot be read."""
    try:
        return [tuple(map(str, read_yaml(folder / "overrides.yaml")))]
    except (UserError, TypeError):
        return []


def _typed(hydra: dict[str, Any]) -> str:
    """Returns the command that the user typed, by the overrides in Hydra's configuration."""
    overrides = hydra.get("overrides") or {}
    typed = [*(overrides.get("task") or ()), *map(partial(_as_typed_here, hydra), overrides.get("hydra") or ())]
    sweeps = "hydra.mode=MULTIRUN" in typed
    return command_of((*["-m"] * sweeps, *(each for each in typed if each != "hydra.mode=MULTIRUN")))


def _as_typed_here(hydra: dict[str, Any], typed: str) -> str:
    """Returns a hydra.* override as typed, except that hydra.sweep.dir becomes relative to the command's folder."""
    if not typed.startswith("hydra.sweep.dir="):
        return typed
    folder, here = Path(hydra["sweep"]["dir"]), (hydra.get("runtime") or {}).get("cwd", "")
    return override("hydra.sweep.dir", folder.relative_to(here)) if here and folder.is_relative_to(here) else typed


def _jobs(hydra: dict[str, Any]) -> Jobs | None:
    """Returns the jobs that a command asks for, as Hydra splits them; None if they are unknown."""
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None
    try:
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(_swept(hydra)))
        return tuple(tuple(job) for job in basic_sweeper().split_arguments(overrides, None)[0])
    except HydraException:  # for example glob(*), if the groups are unknown
        return None


def _swept(hydra: dict[str, Any]) -> Iterator[str]:
    params = (hydra.get("sweeper") or {}).get("params") or {}
    yield from (f"{key}={value}" for key, value in params.items())
    yield from (hydra.get("overrides") or {}).get("task") or ()
