"""The figures of a sweep's page: how the runs trained, and what the bound of each is made of. Each is an SVG."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from ddpm_lightning.npz import read_npz
from ddpm_lightning.report.rows import Row
from ddpm_lightning.report.runs import Run
from ddpm_lightning.training.metrics_csv import METRICS_FILE, read_rows

WIDTH = 10.0
"""Inches, which the page scales to its own width."""

ADVICE = "remove it, and run the sweep again"


def curves(rows: list[Row]) -> str | None:
    """Bits/dim of the same test images and the distance of samples, against the step; a line a run."""
    figure, (bound, distance) = _figure()
    bound.set(xlabel="optimizer step", ylabel="bits/dim, test images", yscale="log")
    distance.set(xlabel="optimizer step", ylabel="distance of samples to the training images", yscale="log")
    drawn = [_curve(bound, rows, ("val/bpd_",)), _curve(distance, rows, ("fid_", "fd_"))]
    return _svg(figure, bound) if any(drawn) else None


def _curve(axes: Any, rows: list[Row], prefix: tuple[str, ...]) -> bool:
    labelled = set()
    for row, style in _styled(rows):
        for points in (points for run in row.runs for points in _lines(run, prefix)):
            label = None if row.label in labelled else row.label
            labelled.add(row.label)
            axes.plot(*zip(*points, strict=True), **style, label=label)
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


def bounds(rows: list[Row]) -> str | None:
    """The terms of the bound by t, and the rate against the distortion as the chain runs, of the first seed."""
    figure, (terms, trade) = _figure()
    found = [(row, style, arrays) for row, style in _styled(rows) if (arrays := _arrays(row))]
    for row, style, arrays in found:
        terms.loglog(arrays["t"][1:], np.abs(arrays["term"][1:]), **style, label=row.label)
        trade.plot(arrays["rate"], arrays["rmse"], **style)
    terms.set(xlabel="t", ylabel="L_{t−1} (bits/dim)")
    trade.set(xlabel="rate (bits/dim)", ylabel="distortion (RMSE of 0–255)", xscale="symlog")
    return _svg(figure, terms) if found else None


def _arrays(row: Row) -> dict[str, np.ndarray] | None:
    """Of the first run that has any."""
    finished = (run for run in row.runs if run.state == "finished")
    path = next((path for run in finished for path in sorted(run.folder.glob("bound_test_*.npz"))), None)
    return None if path is None else read_npz(path, ("t", "term", "rate", "rmse"), ADVICE)


def _styled(rows: list[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """A colour for each objective; the prediction is told by the line."""
    objectives = list(dict.fromkeys(row.objective for row in rows))
    dashes = ["--", "-", ":", "-."]
    predictions = list(dict.fromkeys(row.prediction for row in rows))
    for row in rows:
        line = dashes[(predictions.index(row.prediction)) % len(dashes)]
        yield row, {"color": f"C{objectives.index(row.objective)}", "linestyle": line, "linewidth": 1.3}


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for each in axes:
        each.grid(alpha=0.3)
    return figure, axes


def _svg(figure: Any, legend_of: Any) -> str:
    figure.legend(*legend_of.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
