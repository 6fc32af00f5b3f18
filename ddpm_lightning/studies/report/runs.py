"""Reads the runs of a sweep from their directories: options, state and numbers."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.runtime.run_files.hydra_yaml import read_yaml
from ddpm_lightning.studies.report.one_run import check_one_run
from ddpm_lightning.studies.report.plan import overrides_in, read_plan
from ddpm_lightning.studies.runs.trained_run import STATES, Run, find_hydra, read_run

BEST = "optimization_results.yaml"
"""Where Optuna's sweeper writes the best options and their value."""

LEFT_OUT = "left out"


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
    for found in find_hydra(folder):
        try:
            run = read_run(found.parent)
            if run.is_training:
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
