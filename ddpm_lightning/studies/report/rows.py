"""The rows of a sweep's table: each a choice of options with its runs, one for each seed."""

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ddpm_lightning.studies.report.paper import PREDICTIONS, TABLE_2, Published
from ddpm_lightning.studies.report.runs import Sweep
from ddpm_lightning.studies.runs.trained_run import Run

SEED = "seed="
GROUPS = ("parameterization", "variance", "loss")
"""The groups whose options are a row of Table 2."""

SHOWN_ELSEWHERE = ("seed", "row", *GROUPS)
"""Options that the other columns of the table show."""


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Args:
        title: Its title.
        pattern: Matches the names of its metrics in results.json.
        best: min or max, if smaller or larger is better.
        paper: Returns the number of a row of the paper, if the paper has this column.
    """

    title: str
    pattern: "re.Pattern[str]"
    best: Callable[[Iterable[float]], float] | None = None
    paper: Callable[[Published], str | None] | None = None


WITHIN = re.compile(r"^(?:fid|fd)_.*_within(\d+)$")
"""Matches the names of distances of images that were generated within a number of network calls per image."""

DISTANCE = Column("Fréchet distance", re.compile(r"^(fid|fd)_(?!.*_within\d+$)"), min, lambda row: row.fid)
BITS = Column("bits/dim", re.compile(r"^test/bpd_"), min)
COLUMNS = (
    Column("score", re.compile(r"^(isc|score)_"), max, lambda row: row.isc),
    DISTANCE,
    BITS,
    Column("rate", re.compile(r"^test/rate_")),
    Column("distortion", re.compile(r"^test/distortion_")),
)


def within(calls: int) -> Column:
    """Returns the column of Fréchet distances of images that took at most this many network calls each."""
    return Column(f"distance in {calls} calls", re.compile(rf"^(fid|fd)_.*_within{calls}$"), min)


@dataclass(frozen=True)
class Cell:
    """A cell of the table: the values of one column in the runs of one row, which differ in the seed.

    Args:
        values: The value of each run.
        names: The names of the metrics that the values come from.
    """

    values: tuple[float, ...]
    names: frozenset[str]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None for a single value."""
        n = len(self.values)
        return statistics.stdev(self.values) / math.sqrt(n) if n > 1 and math.isfinite(self.mean) else None

    def __str__(self) -> str:
        if not self.values:
            return "–"
        return f"{self.mean:.3g}" if self.error is None else with_error(self.mean, self.error)


@dataclass(frozen=True)
class Row:
    """A row of the table: a choice of options, and its runs.

    Args:
        key: Parameterization, variance, loss, and further overrides that vary in the sweep.
        prediction: What the network predicts, as the table names it.
        objective: The loss and the variance, as the table names them.
        runs: The runs, by seed.
        missing: Seeds whose runs have not begun.
        left_out: Seeds whose runs are left out.
        published: The row of the paper, if it has one.
    """

    key: tuple[str, ...]
    prediction: str
    objective: str
    runs: tuple[Run, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    published: Published | None

    def cell(self, column: Column) -> Cell:
        """Returns the values of a column over the finished runs."""
        found = [run.measured(column.pattern) for run in self.runs if run.state == "finished"]
        known = [each for each in found if each is not None]
        return Cell(tuple(value for _, value in known), frozenset(name for name, _ in known))

    @property
    def label(self) -> str:
        """The name of the row in legends."""
        return f"{self.prediction.partition(' ')[0]}, {self.objective}"

    @property
    def state(self) -> str:
        """The states of the runs, like `2 of 3 finished; seed 1 diverged at step 40`."""
        finished = [run for run in self.runs if run.state == "finished"]
        parts = [f"{len(finished)} of {len(self.runs) + len(self.missing) + len(self.left_out)} finished"]
        parts += [f"seed {run.seed} diverged at step {run.diverged['step']}" for run in self.runs if run.diverged]
        for names in dict.fromkeys(run.suspect for run in finished if run.suspect):
            warned = [run.seed for run in finished if run.suspect == names]
            parts.append(f"{_seeds(warned)}: a warning of {', '.join(names)}")
        parts += [f"seed {seed} more than once" for seed, n in Counter(run.seed for run in self.runs).items() if n > 1]
        unfinished = [run for run in self.runs if run.state == "unfinished"]
        for progress in dict.fromkeys(run.progress for run in unfinished):
            parts.append(f"{_seeds([run.seed for run in unfinished if run.progress == progress])} unfinished{progress}")
        if self.left_out:
            parts.append(f"{', '.join(self.left_out)} left out, because files are damaged or disagree")
        if self.missing:
            parts.append(f"{', '.join(self.missing)} not begun")
        return "; ".join(parts)


def _seeds(numbers: list[int]) -> str:
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def calls_of(rows: Iterable[Row]) -> list[int]:
    """Returns the budgets of network calls per image at which a row has Fréchet distances, ascending."""
    names = {name for row in rows for run in row.runs for name in run.metrics}
    return sorted({int(match[1]) for name in names if (match := WITHIN.match(name))})


def columns_of(rows: Iterable[Row]) -> list[Column]:
    """Returns the columns of the table: those of Table 2, then the distances by network calls."""
    return [*COLUMNS, *map(within, calls_of(rows))]


def rows_of(sweep: Sweep) -> list[Row]:
    """Returns the rows of a sweep: those of Table 2 in the paper's order, then others by name."""
    varied = _varied(sweep)
    by_key: dict[tuple[str, ...], list[Run]] = {}
    for run in sweep.runs:
        chosen = [str(run.choices[group]) for group in GROUPS]
        by_key.setdefault((*chosen, *_rest(run.overrides, varied)), []).append(run)
    return [_row(key, by_key[key], sweep) for key in sorted(by_key, key=_rank)]


def _rank(key: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Returns the sort key of a row: its place in Table 2, then its name."""
    order = [*TABLE_2, key[: len(GROUPS)]]
    return order.index(key[: len(GROUPS)]), key


def _row(key: tuple[str, ...], runs: list[Run], sweep: Sweep) -> Row:
    parameterization, variance, loss, *rest = key
    published = TABLE_2.get((parameterization, variance, loss))
    prediction = PREDICTIONS.get(parameterization, f"{parameterization} prediction")
    objective = published.objective if published else f"{loss}, {variance}"
    missing, left_out = (
        tuple(seed_of(job) for job in jobs if _without_seed(job) == _without_seed(runs[0].overrides))
        for jobs in (sweep.missing, sweep.left_out)
    )
    runs = sorted(runs, key=lambda run: run.seed)
    return Row(
        key, prediction, ", ".join([objective, *rest]), tuple(runs), missing, left_out, None if rest else published
    )


IRRELEVANT = (
    "logger",
    "trainer",
    "trainer.devices",
    "trainer.max_steps",
    "data.root",
    "data.num_workers",
    "compile",
)
"""Options that do not distinguish rows. conf/study/always_here.yaml leaves them out of folder names, too."""


def _varied(sweep: Sweep) -> set[str]:
    """Returns the overrides that not all runs share."""
    sets = [set(run.overrides) for run in sweep.runs]
    return set[str]().union(*sets) - sets[0].intersection(*sets) if sets else set()


def _rest(overrides: tuple[str, ...], varied: set[str]) -> list[str]:
    return [o for o in overrides if o in varied and o.partition("=")[0].lstrip("+") not in SHOWN_ELSEWHERE + IRRELEVANT]


def _without_seed(overrides: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for each in overrides if not each.startswith(SEED))


def seed_of(job: tuple[str, ...]) -> str:
    """Returns the seed of a job as it was typed, like `seed 0`."""
    return next((each.replace("=", " ") for each in job if each.startswith(SEED)), "a run")


def with_error(mean: float, error: float) -> str:
    """Formats a mean with the digits that its error allows, at most four: 2.914 ± 0.012, or 1.2e-07 ± 3e-09."""
    if 0 < abs(mean) < 1e-3:
        return f"{mean:.2g} ± {error:.1g}"
    digits = 2 if error == 0 else min(4, max(0, 1 - math.floor(math.log10(error))))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
