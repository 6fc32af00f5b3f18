"""Distances within numbers of network calls: columns of the table, and a figure."""

from pathlib import Path
from typing import Any

import pytest

from ddpm_lightning.studies.report.rows import DISTANCE, Row, calls_of, columns_of, within
from ddpm_lightning.studies.report.sweep_plots import by_calls, tradeoff
from ddpm_lightning.studies.report.table import records, title
from ddpm_lightning.studies.runs.trained_run import Run

PLAIN = {"fd_digits_70_train": 9.0}


def finished(folder: Path, seed: int, numbers: dict[str, float]) -> Run:
    outcome = {
        "metrics": {name: {"value": value, "step": 2} for name, value in numbers.items()},
        "evaluated": {"all": {"names": list(numbers), "asked": {}}},
    }
    config = {"seed": seed, "trainer": {"max_steps": 2}, "metrics": {"all": {}}}
    return Run(folder, (), {}, config, outcome)


def row(name: str, *by_seed: dict[str, float]) -> Row:
    """A row of finished runs that measured these numbers."""
    runs = tuple(finished(Path(name), seed, numbers) for seed, numbers in enumerate(by_seed))
    return Row(("epsilon", "beta", name), "ε prediction", name, runs, (), (), None)


def distances(sampler: str, ten: float, thousand: float) -> dict[str, Any]:
    names = (f"fd_digits_70_train_{sampler}10_within10", f"fd_digits_70_train_{sampler}_within1000")
    return {**dict(zip(names, (ten, thousand), strict=True)), "test/bpd_beta_estimate": 3.0}


@pytest.fixture
def rows() -> list[Row]:
    return [row("ddim", distances("ddim", 4.0, 1.0), distances("ddim", 6.0, 2.0)), row("heun", PLAIN)]


def test_each_number_of_calls_is_a_column(rows: list[Row]) -> None:
    assert calls_of(rows) == [10, 1000]
    assert [column.title for column in columns_of(rows)][-2:] == ["distance in 10 calls", "distance in 1000 calls"]
    assert str(rows[0].cell(within(10))) == "5.0 ± 1.0"
    assert rows[0].cell(within(1000)).values == (1.0, 2.0)
    assert "fd_digits_70_train_ddim10_within10" in title(within(10), rows)[1]
    head, (first, _) = records(rows)
    assert len(head) == len(first)


def test_they_are_no_distance_of_the_runs_own_images(rows: list[Row]) -> None:
    assert [each.cell(DISTANCE).values for each in rows] == [(), (9.0,)]


def test_the_figure_has_a_line_with_errors_for_each_row(rows: list[Row]) -> None:
    (axes,) = by_calls(rows).axes
    line, _, (bars,) = axes.containers[0]
    assert line.get_xydata().tolist() == [[10.0, 5.0], [1000.0, 1.5]]
    lengths = [float(segment[1][1] - segment[0][1]) for segment in bars.get_segments()]
    assert lengths == pytest.approx([2.0, 1.0])  # twice the standard error
    assert by_calls(rows[1:]) is None


def test_the_trade_off_is_that_of_the_most_calls(rows: list[Row]) -> None:
    (axes,) = tradeoff(rows).axes
    assert "1000 calls" in axes.get_ylabel()
    assert axes.containers[0][0].get_xydata().tolist() == [[3.0, 1.5]]
