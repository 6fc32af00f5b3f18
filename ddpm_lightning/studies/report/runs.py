"""The runs of a sweep, as their directories tell of them: what they were asked, and what they came to."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import override
from ddpm_lightning.runtime.run_directory import folders_of_hydra
from ddpm_lightning.studies.report.one_run import check_one_run
from ddpm_lightning.studies.report.plan import command_of, read_plan, read_yaml
from ddpm_lightning.training.callbacks.stop import ENDED_EARLY
from ddpm_lightning.training.run_results import has_all_steps, metrics_after_training

BEST = "optimization_results.yaml"
"""Where Optuna's sweeper writes the best options and their value."""

STATES = ("finished", "diverged", "unfinished")


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
    def evaluated(self) -> set[str]:
        """The names of what was measured after training, as it was asked for."""
        records = self.outcome.get("evaluated") or {}
        return {name for record in records.values() for name in record["names"]}

    @property
    def diverged(self) -> dict[str, Any] | None:
        """When and why, if it did: {"step", "reason"}."""
        return self.outcome.get("diverged")

    @property
    def warnings(self) -> list[str]:
        """What is wrong with its numbers, in words."""
        return [f"{name} is {self.metrics[name]['warning']}" for name in self.suspect]

    @property
    def suspect(self) -> tuple[str, ...]:
        """The names of its numbers that have a warning."""
        return tuple(name for name, record in self.metrics.items() if record.get("warning"))

    @property
    def steps(self) -> int:
        """How many optimizer steps it makes: fewer than it was asked for where a callback ended it."""
        ended = self.outcome.get(ENDED_EARLY)
        return int(ended["step"] if ended else self.config["trainer"]["max_steps"])

    @property
    def is_finished(self) -> bool:
        """Whether it has made all its steps, and measured all that it was asked to."""
        wanted_ones = metrics_after_training(self.config) <= set(self.outcome.get("evaluated") or ())
        return wanted_ones and has_all_steps(self.outcome, self.steps)

    @property
    def state(self) -> str:
        """One of STATES."""
        return "diverged" if self.diverged else "finished" if self.is_finished else "unfinished"

    @property
    def command(self) -> str:
        """What makes this run alone."""
        return command_of((*self.overrides, "hydra.mode=RUN", override("hydra.run.dir", self.folder)))

    def measured(self, pattern: "re.Pattern[str]") -> tuple[str, float] | None:
        """The metric whose name fits, and its value: one of those measured after training, if there is any, and else
        the last of training."""
        fitting = [name for name in self.metrics if pattern.search(name)]
        name = next((each for each in fitting if each in self.evaluated), next(iter(fitting), None))
        return None if name is None else (name, float(self.metrics[name]["value"]))


@dataclass(frozen=True)
class Sweep:
    """folder: its directory. runs: those that began. damaged: what cannot be read, and why. commands: that began the
    sweep or went on with it. planned: what their jobs were asked, in order; None where that is not known. best: what a
    search over options has found, in words; None where there was no search, or it has not ended."""

    folder: Path
    runs: tuple[Run, ...]
    damaged: tuple[str, ...]
    commands: tuple[str, ...]
    planned: tuple[tuple[str, ...], ...] | None
    best: str | None = None

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def states(self) -> str:
        """How many runs came to what: 16 finished, 2 diverged."""
        counts = Counter(run.state for run in self.runs)
        return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])

    @cached_property
    def missing(self) -> list[tuple[str, ...]]:
        """The jobs that have not begun."""
        begun = {run.overrides for run in self.runs}
        return [job for job in self.planned or () if job not in begun]


def read_sweep(folder: Path) -> Sweep:
    """The sweep in a directory. Raises UserError where there is none. A run that cannot be read is left out, and named
    among the damaged."""
    runs, damaged = [], []
    for found in sorted([*folder.glob(".hydra"), *folders_of_hydra(folder)]):
        try:
            run = read_run(found.parent)
            if "parameterization" in run.choices:  # else it is of evaluate.py, say
                check_one_run(run.folder, run.config, run.outcome)
                runs.append(run)
        except (UserError, KeyError, TypeError, ValueError) as error:
            damaged.append(f"{found.parent}: {error}")
    if not runs and not damaged and not (folder / "multirun.yaml").is_file():
        raise UserError(
            f"{folder} holds no run of a sweep; give the directory that `python train.py -m …` or an "
            "experiment=table2… wrote to, such as sweep=multirun/table2_digits"
        )
    commands, planned = read_plan(folder)
    return Sweep(folder, tuple(runs), tuple(damaged), commands, planned, _best(folder, runs))


def _best(folder: Path, runs: list[Run]) -> str | None:
    """The best value that the last search found, and the options that have it. The objective is the number that a run
    has with this value: an earlier search in the same folder may have had another one."""
    if not (folder / BEST).is_file():
        return None
    found = read_yaml(folder / BEST)
    asked = [str(run.config.get("objective")) for run in runs]
    having = [
        name for run in runs for name, record in run.metrics.items() if record["value"] == found.get("best_value")
    ]
    objective = next((name for name in having if name in asked), next(iter(having), "objective"))
    options = " ".join(f"{name}={value}" for name, value in found.get("best_params", {}).items())
    number = sum(objective in run.metrics or run.diverged is not None for run in runs)
    return f"best {objective} of {number} runs: {found.get('best_value')} with {options}"


def read_run(folder: Path) -> Run:
    """A run from its directory."""
    hydra = read_yaml(folder / ".hydra" / "hydra.yaml")["hydra"]
    return Run(
        folder,
        tuple(hydra["overrides"]["task"]),
        hydra["runtime"]["choices"],
        read_yaml(folder / ".hydra" / "config.yaml"),
        _outcome(folder / "results.json"),
    )


def _outcome(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it, and run the sweep again") from error
