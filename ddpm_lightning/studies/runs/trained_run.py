"""Reads a run of train.py from its directory: options, state and numbers. Imports nothing heavy."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import command_for, override
from ddpm_lightning.runtime.run_directory import folders_of_hydra
from ddpm_lightning.runtime.run_files.hydra_yaml import read_choices, read_yaml
from ddpm_lightning.runtime.run_files.run_state import ENDED_EARLY, TRAINING, has_all_steps, metrics_after_training

STATES = ("finished", "diverged", "unfinished")


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
    def is_training(self) -> bool:
        """True for a run of train.py; False for one of another command, such as evaluate.py."""
        return "parameterization" in self.choices

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


def command_of(overrides: tuple[str, ...]) -> str:
    """Returns the command that trains with these overrides, to be typed in the folder of the current command."""
    return f"{command_for('train.py')} {shlex.join(overrides)}"


def find_hydra(folder: Path) -> list[Path]:
    """Returns the .hydra folders of all runs in a folder, at any depth, sorted."""
    return sorted([*folder.glob(".hydra"), *folders_of_hydra(folder)])


def read_run(folder: Path) -> Run:
    """Reads a run from its directory. Raises UserError if a file is damaged or missing."""
    hydra = folder / ".hydra"
    return Run(
        folder,
        tuple(map(str, read_yaml(hydra / "overrides.yaml"))),
        read_choices(hydra / "hydra.yaml"),
        read_yaml(hydra / "config.yaml"),
        _outcome(folder / "results.json"),
    )


def _outcome(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it, and run the sweep again") from error
