"""The figures of a sweep: quality against code length, how the runs trained, and what the bound of each is made of."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from ddpm_lightning.npz import read_npz
from ddpm_lightning.report.rows import BITS, DISTANCE, Row
from ddpm_lightning.report.runs import Run
from ddpm_lightning.training.figures import panels, write_plainly
from ddpm_lightning.training.metrics_csv import METRICS_FILE, read_rows

WIDTH = 10.0
"""Inches, which the page scales to its own width."""

LINES, MARKERS = ("-", "--", ":", "-."), ("s", "o", "^", "D")

ADVICE = "remove it, and run the sweep again"


def drawn(rows: list[Row]) -> dict[str, Any]:
    """The figures that there is something to draw for, by name."""
    figures = {"tradeoff": tradeoff(rows), "training": curves(rows), "bound": bounds(rows)}
    return {name: figure for name, figure in figures.items() if figure is not None}


def tradeoff(rows: list[Row]) -> Any | None:
    """The distance of samples against bits/dim, a point a row: means and standard errors over seeds."""
    figure, (axes,) = panels(1, WIDTH, 4.6)
    found = [(row, style) for row, style in _styled(rows) if row.cell(BITS).values and row.cell(DISTANCE).values]
    for row, style in found:
        x, y = row.cell(BITS), row.cell(DISTANCE)
        style = {"color": style["color"], "marker": style["marker"], "linestyle": "", "capsize": 3}
        axes.errorbar(x.mean, y.mean, y.error, x.error, **style, label=row.label)
    axes.set(xlabel="bits/dim, test images", ylabel="Fréchet distance of samples", xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        write_plainly(axis)
    return _with_legend(figure, axes) if found else None


def curves(rows: list[Row]) -> Any | None:
    """Bits/dim of the same test images and the distance of samples, against the step; a line a run."""
    figure, (bound, distance) = panels(2, WIDTH, 4.2)
    bound.set(xlabel="optimizer step", ylabel="bits/dim, test images", yscale="log")
    distance.set(xlabel="optimizer step", ylabel="distance to training images", yscale="log")
    for axes in (bound, distance):
        write_plainly(axes.yaxis)
    found = {bound: _curve(bound, rows, ("val/bpd_",)), distance: _curve(distance, rows, ("fid_", "fd_"))}
    for axes, drawn_there in found.items():
        axes.set_visible(drawn_there)
    return _with_legend(figure, bound if found[bound] else distance) if any(found.values()) else None


def _curve(axes: Any, rows: list[Row], prefix: tuple[str, ...]) -> bool:
    labelled = set()
    for row, style in _styled(rows):
        for points in (points for run in row.runs for points in _lines(run, prefix)):
            label = None if row.label in labelled else row.label
            labelled.add(row.label)
            line = {"color": style["color"], "linestyle": style["linestyle"], "marker": ".", "linewidth": 1.3}
            axes.plot(*zip(*points, strict=True), **line, label=label)
    return bool(labelled)


def _lines(run: Run, prefix: tuple[str, ...]) -> Iterator[list[tuple[int, float]]]:
    """The points of each metric that was measured while the run trained, of the weights that its results are of."""
    path = run.folder / METRICS_FILE
    logged = read_rows(path) if path.is_file() else []
    columns = dict.fromkeys(key for each in logged for key in each if key and key.startswith(prefix))
    averaged = [key for key in columns if key not in run.evaluated and not key.endswith("_raw")]
    for column in averaged or [key for key in columns if key not in run.evaluated]:
        points = [(int(each["step"]), float(each[column])) for each in logged if each.get(column)]
        yield [(step, value) for step, value in points if np.isfinite(value) and value > 0]


def bounds(rows: list[Row]) -> Any | None:
    """The terms of the bound by t, and the rate against the distortion as the chain runs, of the first seed."""
    figure, (terms, trade) = panels(2, WIDTH, 4.2)
    found = [(row, style, arrays) for row, style in _styled(rows) if (arrays := _arrays(row))]
    for row, style, arrays in found:
        line = {"color": style["color"], "linestyle": style["linestyle"]}
        terms.loglog(arrays["t"][1:], np.abs(arrays["term"][1:]), **line, label=row.label)
        trade.plot(arrays["rate"], arrays["rmse"], **line)
    terms.set(xlabel="t", ylabel="L_{t−1} (bits/dim)")
    trade.set(xlabel="rate (bits/dim)", ylabel="distortion (RMSE of 0–255)", xscale="symlog")
    return _with_legend(figure, terms) if found else None


def _arrays(row: Row) -> dict[str, np.ndarray] | None:
    """Of the first run that has any."""
    finished = (run for run in row.runs if run.state == "finished")
    path = next((path for run in finished for path in sorted(run.folder.glob("bound_test_*.npz"))), None)
    return None if path is None else read_npz(path, ("t", "term", "rate", "rmse"), ADVICE)


def _styled(rows: list[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """A colour for each objective; the prediction is told by the line and the marker."""
    objectives = list(dict.fromkeys(row.key[1:] for row in rows))
    predictions = list(dict.fromkeys(row.prediction for row in rows))
    for row in rows:
        place = predictions.index(row.prediction) % len(LINES)
        yield row, {"color": f"C{objectives.index(row.key[1:])}", "linestyle": LINES[place], "marker": MARKERS[place]}


def _with_legend(figure: Any, axes: Any) -> Any:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(labels) < 10 else 3, fontsize="small")
    return figure


def as_svg(figure: Any) -> str:
    """The figure as SVG, to stand inside a page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
