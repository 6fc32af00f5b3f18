"""The rows of a sweep: a choice with its seeds; a kind of number over them is a mean ± its standard error."""

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ddpm_lightning.studies.report.paper import PREDICTIONS, TABLE_2, Published
from ddpm_lightning.studies.report.runs import Run, Sweep

ABOUT_SEED = "seed="
GROUPS = ("parameterization", "variance", "loss")
"""The choices of Table 2."""

OTHERWISE_TOLD = ("seed", "row", *GROUPS)


@dataclass(frozen=True)
class Column:
    """A kind of number. pattern: of its names in results.json. best: min or max, where one is better than another.
    paper: the number of a row of the paper, if it has this kind."""

    title: str
    pattern: "re.Pattern[str]"
    best: Callable[[Iterable[float]], float] | None = None
    paper: Callable[[Published], str | None] | None = None


DISTANCE = Column("Fréchet distance", re.compile(r"^(fid|fd)_"), min, lambda row: row.fid)
BITS = Column("bits/dim", re.compile(r"^test/bpd_"), min)
COLUMNS = (
    Column("score", re.compile(r"^(isc|score)_"), max, lambda row: row.isc),
    DISTANCE,
    BITS,
    Column("rate", re.compile(r"^test/rate_")),
    Column("distortion", re.compile(r"^test/distortion_")),
)


@dataclass(frozen=True)
class Cell:
    """The values of one kind over the seeds of a row. names: of the metrics that they are."""

    values: tuple[float, ...]
    names: frozenset[str]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None of a single value."""
        n = len(self.values)
        return statistics.stdev(self.values) / math.sqrt(n) if n > 1 and math.isfinite(self.mean) else None

    def __str__(self) -> str:
        if not self.values:
            return "–"
        return f"{self.mean:.3g}" if self.error is None else with_error(self.mean, self.error)


@dataclass(frozen=True)
class Row:
    """A choice of the sweep with its runs, one a seed. missing: seeds of it that have not begun."""

    key: tuple[str, ...]
    prediction: str
    objective: str
    runs: tuple[Run, ...]
    missing: tuple[str, ...]
    published: Published | None

    def cell(self, column: Column) -> Cell:
        """Of the runs that have finished."""
        found = [run.measured(column.pattern) for run in self.runs if run.state == "finished"]
        known = [each for each in found if each is not None]
        return Cell(tuple(value for _, value in known), frozenset(name for name, _ in known))

    @property
    def label(self) -> str:
        """In a line."""
        return f"{self.prediction.partition(' ')[0]}, {self.objective}"

    @property
    def state(self) -> str:
        """How many of its seeds came to what."""
        finished = [run for run in self.runs if run.state == "finished"]
        parts = [f"{len(finished)} of {len(self.runs) + len(self.missing)} finished"]
        parts += [f"seed {run.seed} diverged at step {run.diverged['step']}" for run in self.runs if run.diverged]
        for names in dict.fromkeys(run.suspect for run in finished if run.suspect):
            warned = [run.seed for run in finished if run.suspect == names]
            parts.append(f"{_seeds(warned)}: a warning of {', '.join(names)}")
        parts += [f"seed {seed} more than once" for seed, n in Counter(run.seed for run in self.runs).items() if n > 1]
        if unfinished := [run.seed for run in self.runs if run.state == "unfinished"]:
            parts.append(f"{_seeds(unfinished)} unfinished")
        if self.missing:
            parts.append(f"{', '.join(self.missing)} not begun")
        return "; ".join(parts)


def _seeds(numbers: list[int]) -> str:
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def rows_of(sweep: Sweep) -> list[Row]:
    """A row for each choice, in the paper's order, then others by name."""
    varied = _varied(sweep)
    by_key: dict[tuple[str, ...], list[Run]] = {}
    for run in sweep.runs:
        chosen = [str(run.choices[group]) for group in GROUPS]
        by_key.setdefault((*chosen, *_rest(run.overrides, varied)), []).append(run)
    return [_row(key, by_key[key], sweep) for key in sorted(by_key, key=_place)]


def _place(key: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """As the paper's Table 2 has them, then by name."""
    order = [*TABLE_2, key[: len(GROUPS)]]
    return order.index(key[: len(GROUPS)]), key


def _row(key: tuple[str, ...], runs: list[Run], sweep: Sweep) -> Row:
    parameterization, variance, loss, *rest = key
    published = TABLE_2.get((parameterization, variance, loss))
    prediction = PREDICTIONS.get(parameterization, f"{parameterization} prediction")
    objective = published.objective if published else f"{loss}, {variance}"
    missing = tuple(seed_of(job) for job in sweep.missing if _without_seed(job) == _without_seed(runs[0].overrides))
    runs = sorted(runs, key=lambda run: run.seed)
    return Row(key, prediction, ", ".join([objective, *rest]), tuple(runs), missing, None if rest else published)


IRRELEVANT = (
    "logger",
    "trainer",
    "trainer.devices",
    "trainer.max_steps",
    "data.root",
    "data.num_workers",
    "compile",
)
"""Options that make no other row; nor do they name another folder, in conf/study/always_here.yaml."""


def _varied(sweep: Sweep) -> set[str]:
    """The overrides that not all runs share."""
    sets = [set(run.overrides) for run in sweep.runs]
    return set[str]().union(*sets) - sets[0].intersection(*sets) if sets else set()


def _rest(overrides: tuple[str, ...], varied: set[str]) -> list[str]:
    return [o for o in overrides if o in varied and o.partition("=")[0].lstrip("+") not in OTHERWISE_TOLD + IRRELEVANT]


def _without_seed(overrides: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for each in overrides if not each.startswith(ABOUT_SEED))


def seed_of(job: tuple[str, ...]) -> str:
    """As it was typed."""
    return next((each.replace("=", " ") for each in job if each.startswith(ABOUT_SEED)), "a run")


def with_error(mean: float, error: float) -> str:
    """The mean to the digits that its error leaves it, at most four: 2.914 ± 0.012. Small ones as 1.2e-07 ± 3e-09."""
    if 0 < abs(mean) < 1e-3:
        return f"{mean:.2g} ± {error:.1g}"
    digits = 2 if error == 0 else min(4, max(0, 1 - math.floor(math.log10(error))))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
