"""Reads the runs of a sweep from their directories: options, state and numbers."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.runtime.command_line import override
from ddpm_lightning.runtime.run_directory import folders_of_hydra
from ddpm_lightning.studies.report.one_run import check_one_run
from ddpm_lightning.studies.report.plan import command_of, overrides_in, read_plan, read_yaml
from ddpm_lightning.training.callbacks.stop import ENDED_EARLY
from ddpm_lightning.training.run_results import TRAINING, has_all_steps, metrics_after_training

BEST = "optimization_results.yaml"
"""Where Optuna's sweeper writes the best options and their value."""

STATES = ("finished", "diverged", "unfinished")
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Run:
    """A run of train.py, as its files describe it.

    Args:
        folder: Its directory.
        overrides: The options that were typed.
        choices: The option of each group.
        config: The whole configuration, not resolved.
        outcome: The contents of results.json; {} if there is none yet.
    """

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
        """The names of the numbers that were measured after training."""
        records = self.outcome.get("evaluated") or {}
        return {name for record in records.values() for name in record["names"]}

    @property
    def diverged(self) -> dict[str, Any] | None:
        """The step and the reason of a divergence, {"step", "reason"}; None if the run did not diverge."""
        return self.outcome.get("diverged")

    @property
    def warnings(self) -> list[str]:
        """The warnings of its numbers, as sentences."""
        return [f"{name} is {self.metrics[name]['warning']}" for name in self.suspect]

    @property
    def suspect(self) -> tuple[str, ...]:
        """The names of the numbers with a warning."""
        return tuple(name for name, record in self.metrics.items() if record.get("warning"))

    @property
    def steps(self) -> int:
        """The number of optimizer steps of the whole run, or the step at which a callback ended it."""
        ended = self.outcome.get(ENDED_EARLY)
        return int(ended["step"] if ended else self.config["trainer"]["max_steps"])

    @property
    def is_finished(self) -> bool:
        """True if the run has trained all its steps and measured all its metrics."""
        measured_all = metrics_after_training(self.config) <= set(self.outcome.get("evaluated") or ())
        return measured_all and has_all_steps(self.outcome, self.steps)

    @property
    def state(self) -> str:
        """The state of the run, one of STATES."""
        return "diverged" if self.diverged else "finished" if self.is_finished else "unfinished"

    @property
    def progress(self) -> str:
        """The last step of an unfinished training, like ` at step 12 of 100`; "" if it is finished or unknown."""
        training = self.outcome.get(TRAINING) or {"finished": True}
        return "" if training["finished"] else " at step {step} of {max_steps}".format_map(training)

    @property
    def command(self) -> str:
        """The command that makes this run alone."""
        return command_of((*self.overrides, "hydra.mode=RUN", override("hydra.run.dir", self.folder)))

    def measured(self, pattern: "re.Pattern[str]") -> tuple[str, float] | None:
        """Returns name and value of a metric that matches; None if there is none.

        One that was measured after training takes precedence over one that was logged while training.
        """
        fitting = [name for name in self.metrics if pattern.search(name)]
        name = next((each for each in fitting if each in self.evaluated), next(iter(fitting), None))
        return None if name is None else (name, float(self.metrics[name]["value"]))


@dataclass(frozen=True)
class Sweep:
    """A sweep, as its directory describes it.

    Args:
        folder: Its directory.
        runs: The runs that have begun.
        damaged: The runs that are left out, each with the reason: it cannot be read, or its files are of two runs.
        left_out: The overrides of those runs, where they are known.
        commands: The commands that started or resumed the sweep.
        planned: The overrides of all planned jobs, in order; None if they are unknown.
        best: A sentence with the result of a search over options; None if there is none.
    """

    folder: Path
    runs: tuple[Run, ...]
    damaged: tuple[str, ...]
    left_out: tuple[tuple[str, ...], ...]
    commands: tuple[str, ...]
    planned: tuple[tuple[str, ...], ...] | None
    best: str | None = None

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def states(self) -> str:
        """The number of runs in each state, like `16 finished, 2 diverged`."""
        counts = Counter(run.state for run in self.runs) + Counter({LEFT_OUT: len(self.damaged)})
        return ", ".join(f"{counts[state]} {state}" for state in (*STATES, LEFT_OUT) if counts[state])

    @property
    def summary(self) -> str:
        """The number of runs that have begun and that have not, and the states, like `12 runs: 12 finished`."""
        begun = len(self.runs) + len(self.damaged)
        words = counted(begun, "run has begun", "runs have begun") if self.missing or self.planned is None else ""
        if self.planned is None:
            words += "; how many were planned is not known"
        elif self.missing:
            words += f", {counted(len(self.missing), 'has not', 'have not')}"
        return (words or counted(begun, "run")) + (f": {self.states}" if begun else "")

    @cached_property
    def missing(self) -> list[tuple[str, ...]]:
        """The overrides of the jobs that have not begun."""
        begun = {*(run.overrides for run in self.runs), *self.left_out}
        return [job for job in self.planned or () if job not in begun]


def read_sweep(folder: Path) -> Sweep:
    """Reads the sweep in a directory. Runs that cannot be read, or whose files disagree, are listed as damaged.

    Raises:
        UserError: The directory holds no run of a sweep.
    """
    runs, damaged, left_out = [], [], []
    for found in sorted([*folder.glob(".hydra"), *folders_of_hydra(folder)]):
        try:
            run = read_run(found.parent)
            if "parameterization" in run.choices:  # otherwise it is of another command, like evaluate.py
                check_one_run(run.folder, run.config, run.outcome)
                runs.append(run)
        except (UserError, KeyError, TypeError, ValueError) as error:
            damaged.append(f"{found.parent}: {error}")
            left_out += overrides_in(found)
    if not runs and not damaged and not (folder / "multirun.yaml").is_file():
        raise UserError(
            f"{folder} holds no run of a sweep; give the directory that `python train.py -m …` or an "
            "experiment=table2… wrote to, such as sweep=multirun/table2_digits"
        )
    commands, planned = read_plan(folder)
    return Sweep(folder, tuple(runs), tuple(damaged), tuple(left_out), commands, planned, _best(folder, runs))


def _best(folder: Path, runs: list[Run]) -> str | None:
    """Returns a sentence with the best value of the last search and its options; None without a search.

    The objective is the metric with this value, because earlier searches in the folder may have had another objective.
    """
    if not (folder / BEST).is_file():
        return None
    found = read_yaml(folder / BEST)
    objectives = [str(run.config.get("objective")) for run in runs]
    value = found.get("best_value")
    having = [name for run in runs for name, record in run.metrics.items() if record["value"] == value]
    objective = next((name for name in having if name in objectives), next(iter(having), "objective"))
    options = " ".join(f"{name}={value}" for name, value in found.get("best_params", {}).items())
    number = sum(objective in run.metrics or run.diverged is not None for run in runs)
    return f"best {objective} of {counted(number, 'run')}: {value} with {options}"


def read_run(folder: Path) -> Run:
    """Reads a run from its directory."""
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
