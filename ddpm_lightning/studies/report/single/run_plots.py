"""The figures of one run: its curves by optimizer step, and the bound by t."""

from collections.abc import Iterator
from typing import Any

from ddpm_lightning.npz import read_npz
from ddpm_lightning.runtime.plots import panels, write_plainly
from ddpm_lightning.runtime.run_files.metrics_rows import METRICS_FILE, read_rows
from ddpm_lightning.studies.report.sweep_plots import ADVICE, WIDTH, draw_terms, points_of
from ddpm_lightning.studies.runs.trained_run import Run

CURVES = {
    "loss": ("train/loss",),
    "bits/dim, test images": ("val/bpd_",),
    "distance to training images": ("fid_", "fd_", "kid_"),
    "gradient norm before clipping": ("train/grad_norm",),
    "learning rate": ("train/lr",),
    "images a second": ("train/images_per_s",),
}
"""The plots of curves, and the beginnings of the names of their columns in metrics.csv."""

ACROSS = 3


def run_figures(run: Run) -> dict[str, Any]:
    """Returns the figures of a run by name, without those that have nothing to show."""
    figures = {"training": curves_of(run), "bound": bound_of(run)}
    return {name: figure for name, figure in figures.items() if figure is not None}


def curves_of(run: Run) -> Any | None:
    """Draws what was measured while the run trained, against the optimizer step; None if nothing was."""
    path = run.folder / METRICS_FILE
    logged = read_rows(path) if path.is_file() else []
    found = {label: [*_lines(logged, beginnings)] for label, beginnings in CURVES.items()}
    found = {label: lines for label, lines in found.items() if lines}
    if not found:
        return None
    from matplotlib.figure import Figure

    down = -(-len(found) // ACROSS)
    figure = Figure(figsize=(WIDTH, 3 * down), layout="constrained")
    for place, (label, lines) in enumerate(found.items()):
        axes = figure.add_subplot(down, ACROSS, place + 1, xlabel="optimizer step", title=label, yscale="log")
        axes.title.set_fontsize("medium")
        axes.grid(alpha=0.3)
        for name, points in lines:
            axes.plot(*zip(*points, strict=True), marker=".", markersize=3, linewidth=1.2, label=name)
        axes.legend(fontsize="x-small")
        write_plainly(axes.yaxis)
    return figure


def _lines(logged: list[dict[str, str]], beginnings: tuple[str, ...]) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Yields name and points of each column that begins so, and was logged with a number above 0."""
    columns = dict.fromkeys(key for row in logged for key in row if key and key.startswith(beginnings))
    yield from ((column, points) for column in columns if (points := points_of(logged, column)))


def bound_of(run: Run) -> Any | None:
    """Draws the terms of the bound by t, and rate against distortion; None if the run has not measured them."""
    paths = sorted(run.folder.glob("bound_*.npz"))
    if not paths:
        return None
    figure, (terms, trade) = panels(2, WIDTH, 4.2)
    for path in paths:
        arrays = read_npz(path, ("t", "term", "rate", "rmse"), ADVICE)
        draw_terms(terms, trade, arrays, label=path.stem.removeprefix("bound_"))
    terms.legend(fontsize="small")
    return figure
