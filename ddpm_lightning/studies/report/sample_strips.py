"""The samples of a sweep's runs, side by side."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from PIL import Image

from ddpm_lightning.studies.report.rows import Row
from ddpm_lightning.studies.runs.trained_run import Run

COLUMNS = 5
"""The most pictures in a row."""

FINAL = "at the end"


@dataclass(frozen=True)
class Grid:
    """The last picture of samples that a run drew."""

    row: Row
    run: Run
    path: Path

    @property
    def moment(self) -> str:
        """When the samples were drawn: at the end, or at a step."""
        return moment_of(self.path)


def moment_of(picture: Path) -> str:
    """Returns when a picture in samples/ was drawn: FINAL, or `at step 1600`."""
    step = picture.stem.rpartition("_")[2]
    return FINAL if step == "final" else f"at step {step.lstrip('0') or '0'}"


def grids_of(rows: list[Row]) -> list[Grid]:
    """Returns the last grid of each row's run with the most common seed, so that all grids start from the same noise.

    A row without a grid for that seed is left out.
    """
    drawn = {(row.key, run.seed): last_grid(run) for row in rows for run in row.runs}
    seeds = Counter(seed for (_, seed), path in drawn.items() if path)
    if not seeds:
        return []
    seed = seeds.most_common(1)[0][0]
    found = ((row, run, drawn[row.key, seed]) for row in rows for run in row.runs if run.seed == seed)
    return [Grid(row, run, path) for row, run, path in found if path]


def last_grid(run: Run) -> Path | None:
    """Returns the last picture of samples that a run drew; None if it drew none."""
    return max((run.folder / "samples").glob("grid_*.png"), default=None)  # grid_final sorts after grid_0001600


def samples(rows: list[Row]) -> Any | None:
    """Returns a figure of all rows' samples from the same noise; None if there are none."""
    from matplotlib.figure import Figure

    grids = grids_of(rows)
    if not grids:
        return None
    across = min(len(grids), COLUMNS)
    down = -(-len(grids) // across)
    figure = Figure(figsize=(2 * across, 2.3 * down), layout="constrained")
    figure.suptitle(f"seed {grids[0].run.seed}: all from the same noise", fontsize=8, x=0.01, ha="left")
    for place, grid in enumerate(grids):
        axes = figure.add_subplot(down, across, place + 1, xticks=[], yticks=[])
        label = grid.row.label if grid.moment == FINAL else f"{grid.row.label}, {grid.moment}"
        axes.set_title("\n".join(wrap(label, 36)), fontsize=7, loc="left")
        with Image.open(grid.path) as image:
            axes.imshow(image.convert("RGB"), interpolation="nearest")
    return figure
