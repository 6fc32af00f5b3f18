"""The figures of a sweep: distance against bits/dim, training curves, and the terms of the bound."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ddpm_lightning.npz import read_npz
from ddpm_lightning.runtime.plots import panels, write_plainly
from ddpm_lightning.runtime.run_files.metrics_rows import METRICS_FILE, read_rows
from ddpm_lightning.studies.report.rows import BITS, DISTANCE, Cell, Column, Row, calls_of, within
from ddpm_lightning.studies.report.table import title
from ddpm_lightning.studies.runs.trained_run import Run

WIDTH = 10.0
"""Width in inches. The page scales it to its own width."""

LINES, MARKERS = ("-", "--", ":", "-."), ("s", "o", "^", "D")

ADVICE = "remove it, and run the sweep again"


def drawn(rows: list[Row]) -> dict[str, Any]:
    """Returns the figures of a sweep by name, without those that have nothing to show."""
    figures = {"tradeoff": tradeoff(rows), "calls": by_calls(rows), "training": curves(rows), "bound": bounds(rows)}
    return {name: figure for name, figure in figures.items() if figure is not None}


def tradeoff(rows: list[Row]) -> Any | None:
    """Draws the distance of samples against bits/dim, a point for each row, with standard errors over seeds."""
    distance = _distance(rows)
    found = [(row, style) for row, style in _styled(rows) if all(map(_fits_log_axis, _cells(row, distance)))]
    if not found:
        return None
    figure, (axes,) = panels(1, WIDTH, 4.6)
    for row, style in found:
        x, y = _cells(row, distance)
        style = {"color": style["color"], "marker": style["marker"], "linestyle": "", "capsize": 3, "fillstyle": "none"}
        axes.errorbar(x.mean, y.mean, y.error, x.error, **style, label=row.label)
    axes.set(xlabel=" ".join(title(BITS, rows)), ylabel="\n".join(title(distance, rows)), xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        write_plainly(axis)
    return _with_legend(figure, axes)


def _distance(rows: list[Row]) -> Column:
    """Returns the column of Fréchet distances, at the largest budget of network calls if there are several budgets."""
    calls = calls_of(rows)
    return within(calls[-1]) if calls else DISTANCE


def _cells(row: Row, distance: Column) -> tuple[Cell, Cell]:
    return row.cell(BITS), row.cell(distance)


def _fits_log_axis(cell: Cell) -> bool:
    return math.isfinite(cell.mean) and cell.mean > 0


def by_calls(rows: list[Row]) -> Any | None:
    """Draws the Fréchet distance against the budget of network calls per image, with standard errors over seeds."""
    calls = calls_of(rows)
    if not calls:
        return None
    figure, (axes,) = panels(1, WIDTH, 4.6)
    for row, style in _styled(rows):
        cells = [(n, cell) for n in calls if _fits_log_axis(cell := row.cell(within(n)))]
        errors = [cell.error or 0.0 for _, cell in cells]
        line = {"color": style["color"], "linestyle": style["linestyle"], "marker": style["marker"], "capsize": 3}
        axes.errorbar([n for n, _ in cells], [cell.mean for _, cell in cells], errors, **line, label=row.label)
    axes.set(xlabel="network calls per image, at most", ylabel="Fréchet distance", xscale="log", yscale="log")
    axes.set_xticks(calls, [str(n) for n in calls], minor=False)
    write_plainly(axes.yaxis)
    return _with_legend(figure, axes)


def curves(rows: list[Row]) -> Any | None:
    """Draws bits/dim of test images and the distance of samples against the step, a line for each run."""
    wanted = {"bits/dim, test images": ("val/bpd_",), "distance to training images": ("fid_", "fd_")}
    lines = {label: _lines_of(rows, prefix) for label, prefix in wanted.items()}
    found = {label: each for label, each in lines.items() if each}
    if not found:
        return None
    figure, panes = panels(len(found), WIDTH, 4.2)
    for axes, (label, each) in zip(panes, found.items(), strict=True):
        axes.set(xlabel="optimizer step", ylabel=label, yscale="log")
        for row, style, points in each:
            line = {"color": style["color"], "linestyle": style["linestyle"], "marker": ".", "linewidth": 1.3}
            axes.plot(*zip(*points, strict=True), **line, label=row.label)
        write_plainly(axes.yaxis)
    return _with_legend(figure, panes[0])


def _lines_of(rows: list[Row], prefix: tuple[str, ...]) -> list[tuple[Row, dict[str, Any], list[tuple[int, float]]]]:
    found = ((row, style, points) for row, style in _styled(rows) for run in row.runs for points in _lines(run, prefix))
    return [each for each in found if each[-1]]


def _lines(run: Run, prefix: tuple[str, ...]) -> Iterator[list[tuple[int, float]]]:
    """Yields a list of (step, value) for each metric with the prefix that was measured during training.

    Numbers of raw weights are left out if there are some of averaged weights.
    """
    path = run.folder / METRICS_FILE
    logged = read_rows(path) if path.is_file() else []
    columns = dict.fromkeys(key for each in logged for key in each if key and key.startswith(prefix))
    averaged = [key for key in columns if key not in run.evaluated and not key.endswith("_raw")]
    for column in averaged or [key for key in columns if key not in run.evaluated]:
        yield points_of(logged, column)


def points_of(logged: list[dict[str, str]], column: str) -> list[tuple[int, float]]:
    """Returns (step, value) of each row of metrics.csv in which the column has a finite number above 0."""
    points = [(int(each["step"]), float(each[column])) for each in logged if each.get(column)]
    return [(step, value) for step, value in points if np.isfinite(value) and value > 0]


def bounds(rows: list[Row]) -> Any | None:
    """Draws the terms of the bound by t, and rate against distortion along the chain, of the first finished seed."""
    figure, (terms, trade) = panels(2, WIDTH, 4.2)
    found = [(row, style, arrays) for row, style in _styled(rows) if (arrays := _arrays(row))]
    for row, style, arrays in found:
        draw_terms(terms, trade, arrays, label=row.label, color=style["color"], linestyle=style["linestyle"])
    return _with_legend(figure, terms) if found else None


def draw_terms(terms: Any, trade: Any, arrays: dict[str, np.ndarray], label: str, **line: Any) -> None:
    """Draws the terms of a bound by t on one pair of axes, and rate against distortion on the other."""
    terms.loglog(arrays["t"][1:], np.abs(arrays["term"][1:]), **line, label=label)
    trade.plot(arrays["rate"], arrays["rmse"], **line)
    terms.set(xlabel="t", ylabel="L_{t−1} (bits/dim)")
    trade.set(xlabel="rate (bits/dim)", ylabel="distortion (RMSE of 0–255)", xscale="symlog")


def _arrays(row: Row) -> dict[str, np.ndarray] | None:
    """Returns the terms of the bound of the first finished run that has them."""
    finished = (run for run in row.runs if run.state == "finished")
    path = next((path for run in finished for path in sorted(run.folder.glob("bound_test_*.npz"))), None)
    return None if path is None else read_npz(path, ("t", "term", "rate", "rmse"), ADVICE)


def _styled(rows: list[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Yields each row with its style: a colour by objective, a line and a marker by prediction."""
    objectives = list(dict.fromkeys(row.key[1:] for row in rows))
    predictions = list(dict.fromkeys(row.prediction for row in rows))
    for row in rows:
        objective = objectives.index(row.key[1:])
        place = (predictions.index(row.prediction) + objective // 10) % len(LINES)  # there are ten colours
        yield row, {"color": f"C{objective}", "linestyle": LINES[place], "marker": MARKERS[place]}


def _with_legend(figure: Any, axes: Any) -> Any:
    """Adds a legend below the figure, with one entry for each row."""
    by_label = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    handles, labels = list(by_label.values()), list(by_label)
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(labels) < 10 else 3, fontsize="small")
    return figure
