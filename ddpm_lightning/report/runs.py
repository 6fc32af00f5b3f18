"""The runs of a sweep, as their directories tell of them: what they were asked, and what they came to."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ddpm_lightning.errors import UserError

ABOUT_SEED = "seed="


@dataclass(frozen=True)
class Run:
    """folder: its directory. overrides: what was typed. choices: the option of each group. config: the whole of it,
    not resolved. outcome: what results.json holds; nothing, if it is not there yet."""

    folder: Path
    overrides: tuple[str, ...]
    choices: dict[str, Any]
    config: dict[str, Any]
    outcome: dict[str, Any]

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        return dict(self.outcome.get("metrics", {}))

    @property
    def diverged(self) -> dict[str, Any] | None:
        """When and why, if it did: {"step", "reason"}."""
        return self.outcome.get("diverged")

    @property
    def warnings(self) -> list[str]:
        """What is wrong with its numbers, in words."""
        return [f"{name} is {record['warning']}" for name, record in self.metrics.items() if record.get("warning")]

    @property
    def is_finished(self) -> bool:
        """Whether it has measured all that it was asked to."""
        wanted = {name for name, node in (self.config.get("metrics") or {}).items() if node is not None}
        return bool(self.metrics) and wanted <= set(self.outcome.get("evaluated", ()))

    @property
    def state(self) -> str:
        """finished, diverged or unfinished."""
        return "diverged" if self.diverged else "finished" if self.is_finished else "unfinished"

    @property
    def command(self) -> str:
        """What makes this run alone."""
        return shlex.join(["python", "train.py", *self.overrides, "hydra.mode=RUN", f"hydra.run.dir={self.folder}"])

    def measured(self, pattern: "re.Pattern[str]") -> tuple[str, float] | None:
        """The metric whose name fits, the shortest if several do (a longer one says of fewer steps), and its value."""
        names = sorted((name for name in self.metrics if pattern.search(name)), key=len)
        return (names[0], float(self.metrics[names[0]]["value"])) if names else None


@dataclass(frozen=True)
class Sweep:
    """folder: its directory. runs: those that began. planned: what each of its jobs was asked, in order; None where
    that cannot be known from multirun.yaml."""

    folder: Path
    runs: tuple[Run, ...]
    planned: tuple[tuple[str, ...], ...] | None
    command: str

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @cached_property
    def missing(self) -> list[tuple[str, ...]]:
        """The jobs that have not begun."""
        begun = {run.overrides for run in self.runs}
        return [job for job in self.planned or () if job not in begun]


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a directory. Raises UserError where there is none, or a file of it is damaged."""
    runs = tuple(read_run(found.parent) for found in sorted(folder.glob("**/.hydra")) if found.is_dir())
    multirun = folder / "multirun.yaml"
    if not runs and not multirun.is_file():
        raise UserError(
            f"{folder} holds no run of a sweep; give the directory that `python train.py -m …` or an "
            "experiment=table2… wrote to, such as sweep=multirun/table2_digits"
        )
    asked = _yaml(multirun).get("hydra", {}) if multirun.is_file() else {}
    return Sweep(folder, runs, _planned(asked), _command(asked))


def read_run(folder: Path) -> Run:
    """A run from its directory."""
    hydra = _yaml(folder / ".hydra" / "hydra.yaml")["hydra"]
    return Run(
        folder,
        tuple(hydra["overrides"]["task"]),
        hydra["runtime"]["choices"],
        _yaml(folder / ".hydra" / "config.yaml"),
        _outcome(folder / "results.json"),
    )


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return dict(OmegaConf.to_container(OmegaConf.load(path), resolve=False))  # type: ignore[arg-type]
    except Exception as error:  # a damaged file can raise nearly anything
        raise UserError(f"{path} cannot be read ({error}); run that job again, or remove its folder") from error


def _outcome(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it, and run the sweep again") from error


def _asked(hydra: dict[str, Any]) -> Iterator[str]:
    params = (hydra.get("sweeper") or {}).get("params") or {}
    yield from (f"{key}={value}" for key, value in params.items())
    yield from (hydra.get("overrides") or {}).get("task") or ()


def _planned(hydra: dict[str, Any]) -> tuple[tuple[str, ...], ...] | None:
    try:
        overrides = OverridesParser.create().parse_overrides(list(_asked(hydra)))
        return tuple(tuple(job) for job in BasicSweeper.split_arguments(overrides, None)[0])
    except HydraException:  # glob(*), say, which knows only the configs
        return None


def _command(hydra: dict[str, Any]) -> str:
    overrides = hydra.get("overrides") or {}
    typed = [*(overrides.get("task") or ()), *(overrides.get("hydra") or ())]
    multirun = "hydra.mode=MULTIRUN" in typed
    return shlex.join(["python", "train.py", *["-m"] * multirun, *(o for o in typed if o != "hydra.mode=MULTIRUN")])
