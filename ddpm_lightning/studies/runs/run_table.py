"""The table of the runs in some folders: a row for each run, with the names that W&B's summary has."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.run_files.metrics_rows import METRICS_FILE, read_summary
from ddpm_lightning.runtime.run_files.run_state import ENDED_EARLY, TRAINING
from ddpm_lightning.studies.runs.trained_run import Run, find_hydra, read_run

STEP = "trainer/global_step"
"""The name of the optimizer step in W&B's summary."""

FIRST = ("run", "state", STEP, "seconds", "seed")
"""The columns of every run. `seconds` is the time of training, measuring, drawing and saving, over all resumes."""


@dataclass(frozen=True)
class TableRow:
    """A run in the table.

    Args:
        run: The run.
        values: Its values by the names of columns.
    """

    run: Run
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Returns the value of a column, or of another key of the configuration; None if the run has none."""
        return self.values[name] if name in self.values else at(self.run.config, name)


@dataclass(frozen=True)
class RunTable:
    """The runs in some folders.

    Args:
        rows: The runs.
        choices: The names of the columns with choices and typed options.
        metrics: The names of the columns with metrics.
        damaged: The runs that cannot be read, each with the reason.
    """

    rows: tuple[TableRow, ...]
    choices: tuple[str, ...]
    metrics: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*FIRST, *self.choices, *self.metrics)


def read_table(folders: Iterable[Path]) -> RunTable:
    """Reads all runs of train.py in the folders, at any depth.

    Raises:
        UserError: There is none.
    """
    folders, runs, damaged = list(folders), [], []
    found = {hydra.resolve(): hydra.parent for folder in folders for hydra in find_hydra(folder)}
    for folder in found.values():
        try:
            run = read_run(folder)
            if run.is_training:
                runs.append((run, values_of(run)))
        except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
            damaged.append(f"{relative(folder)}: {error}")
    if not runs and not damaged:
        raise UserError(f"{' and '.join(map(str, folders))} holds no run of train.py; name a folder that does")
    runs.sort(key=lambda each: natural(str(each[0].folder)))
    typed = dict.fromkeys(name for run, _ in runs for name in (*choices_of(run), *typed_in(run)) if name not in FIRST)
    metrics = dict.fromkeys(name for _, values in runs for name in values if name not in {*FIRST, *typed})
    return RunTable(tuple(TableRow(*each) for each in runs), tuple(typed), tuple(metrics), tuple(damaged))


def values_of(run: Run) -> dict[str, Any]:
    """Returns the values of a run by column. Numbers of results.json take precedence over the last logged ones."""
    path = run.folder / METRICS_FILE
    logged, seconds = read_summary(path) if path.is_file() else ({}, None)
    final = {name: float(record["value"]) for name, record in run.metrics.items()}
    ends = (run.diverged, run.outcome.get(ENDED_EARLY), run.outcome.get(TRAINING))
    step = next((end["step"] for end in ends if end), logged.pop("step", None))
    logged.pop("step", None)
    first = (str(relative(run.folder)), run.state, None if step is None else int(step), seconds, run.seed)
    return {**dict(zip(FIRST, first, strict=True)), **choices_of(run), **logged, **final}


def choices_of(run: Run) -> dict[str, Any]:
    """Returns the chosen option of each group."""
    return {group: option for group, option in run.choices.items() if not group.startswith("hydra/")}


def typed_in(run: Run) -> Iterator[str]:
    """Yields the keys of the options that were typed, without those that choose from a group."""
    names = (option.lstrip("+~").partition("=")[0].partition("@")[0] for option in run.overrides)
    yield from (name for name in names if name not in run.choices)


def at(config: dict[str, Any], key: str) -> Any:
    """Returns the value of a key such as optimizer.lr; None if there is none.

    A node is its class's name, or a list of its parts.
    """
    node: Any = config
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        return node
    return str(node["_target_"]).rpartition(".")[2] if "_target_" in node else [*node]


def natural(text: str) -> list[str | int]:
    """Returns a sort key that puts run 2 before run 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def is_number(value: Any) -> bool:
    """Returns whether a value is a number that is not NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def as_text(value: Any) -> str:
    """Returns a value as a user types it: null, true, simple."""
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
