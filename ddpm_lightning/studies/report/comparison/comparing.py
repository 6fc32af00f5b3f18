"""Compares runs: every number with its error, the samples, and the options that differ, as a page and as tables."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.jackknife import standard_error
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.studies.report.comparison.config_difference import differing_options
from ddpm_lightning.studies.report.comparison.number_differences import (
    ComparedNumber,
    NumberDifference,
    compared,
    share_noise,
)
from ddpm_lightning.studies.report.comparison.paired_images import LeftOut, scores_without_groups
from ddpm_lightning.studies.report.sample_strips import last_grid
from ddpm_lightning.studies.report.single.numbers import MeasuredNumber, numbers_of
from ddpm_lightning.studies.report.templates import rendered
from ddpm_lightning.studies.runs.table_files import csv_text
from ddpm_lightning.studies.runs.trained_run import Run, read_run


@dataclass(frozen=True)
class Comparison:
    """Several runs, compared with the first of them.

    Args:
        runs: The runs.
        numbers: Every number that one of them has.
        options: The values of each option in which they differ, by its key.
    """

    runs: tuple[Run, ...]
    numbers: tuple[ComparedNumber, ...]
    options: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        """The folders of the runs."""
        return [str(relative(run.folder)) for run in self.runs]


def compare(folders: Sequence[Path], by_images: bool) -> Comparison:
    """Returns the comparison of the runs in these folders.

    Args:
        folders: Folders of runs of train.py, at least two.
        by_images: Whether to compute errors of distances from the images that the runs keep.

    Raises:
        UserError: There is a single folder, or one holds no finished run.
    """
    if len({folder.resolve() for folder in folders}) < len(folders) or len(folders) < 2:
        raise UserError("a comparison needs two folders or more, each of another run: ddpm compare RUN RUN")
    runs = tuple(map(_run_in, folders))
    left_out = [scores_without_groups(run) if by_images else {} for run in runs]
    numbers = [
        {name: _with_error(number, without) for name, number in numbers_of(run).items()}
        for run, without in zip(runs, left_out, strict=True)
    ]
    paired = [_paired(numbers[0], left_out[0], *each) for each in zip(numbers, left_out, strict=True)]
    return Comparison(runs, tuple(compared(numbers, paired)), differing_options(runs))


def _run_in(folder: Path) -> Run:
    if not (folder / ".hydra").is_dir():
        raise UserError(f"{folder} is no folder of a run; name one that train.py wrote to: outputs/DATE_TIME")
    run = read_run(folder)
    if not run.is_training or not run.metrics:
        raise UserError(f"{folder} has no numbers of train.py in a results.json yet; let the run finish first")
    return run


def _with_error(number: MeasuredNumber, left_out: dict[str, LeftOut]) -> MeasuredNumber:
    """Returns a number without an error of its own with that of the jackknife, if there is one."""
    if number.error is not None or number.name not in left_out:
        return number
    return replace(number, record={**number.record, "standard_error": standard_error(left_out[number.name])})


def _paired(
    first: dict[str, MeasuredNumber],
    first_left_out: dict[str, LeftOut],
    numbers: dict[str, MeasuredNumber],
    left_out: dict[str, LeftOut],
) -> dict[str, float]:
    """Returns the standard errors of the differences of numbers whose images share their noise, by name."""
    names = numbers.keys() & first.keys() & left_out.keys() & first_left_out.keys()
    return {
        name: standard_error(left_out[name] - first_left_out[name])
        for name in names
        if share_noise(first[name].record, numbers[name].record)
    }


def comparison_page(comparison: Comparison) -> str:
    """Returns the page of a comparison as HTML."""
    grids = [(run, last_grid(run)) for run in comparison.runs]
    return rendered(
        "comparison/comparison.html",
        {},
        comparison=comparison,
        grids=[(str(relative(run.folder)), run.seed, path) for run, path in grids if path],
    )


def as_markdown(comparison: Comparison) -> str:
    """Returns the numbers, the differences and the options as two Markdown tables."""
    names = comparison.names
    head = ["number", *names, *(f"{name} − {names[0]}" for name in names[1:])]
    rows = ([each.name, *map(shown, each.numbers), *map(judged, each.differences[1:])] for each in comparison.numbers)
    options = ([key, *values] for key, values in comparison.options.items())
    return f"{table(head, rows)}\n{table(['option', *names], options)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def shown(number: MeasuredNumber | None) -> str:
    """Returns a number as text; a dash for none."""
    return "–" if number is None else str(number)


def judged(difference: NumberDifference | None) -> str:
    """Returns a difference with what it means, such as `0.12 ± 0.03 (paired): beyond noise`; a dash for none."""
    if difference is None:
        return "–"
    return f"{difference}{' (paired)' if difference.paired else ''}: {difference.verdict}"


def as_csv(comparison: Comparison) -> str:
    """Returns the unrounded numbers as a CSV file: a row for each number of each run."""
    columns = ["number", "run", "value", "error", "error of", "difference", "error of difference", "paired", "verdict"]
    rows = [row for each in comparison.numbers for row in _records(each, comparison.names)]
    return csv_text(columns, rows)


def _records(compared_number: ComparedNumber, names: Sequence[str]) -> Iterator[list[Any]]:
    """Yields the row of each run that has this number."""
    for name, number, difference in zip(names, compared_number.numbers, compared_number.differences, strict=True):
        if number is not None:
            row = [compared_number.name, name, number.value, number.error, number.error_of]
            d = difference
            yield [*row, *([""] * 4 if d is None else [d.value, d.error, d.paired, d.verdict])]
