"""A sweep as one page that needs nothing else: pictures and style are inside, and there is no script."""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ddpm_lightning.report.figures import as_svg
from ddpm_lightning.report.plan import command_of
from ddpm_lightning.report.rows import COLUMNS, Row
from ddpm_lightning.report.runs import Run, Sweep
from ddpm_lightning.report.table import is_best, published, title


@dataclass(frozen=True)
class Grid:
    """The samples of a run. step: of the weights that made them."""

    row: Row
    run: Run
    image: str
    step: str


def page(sweep: Sweep, rows: list[Row], figures: Mapping[str, Any]) -> str:
    """The page, as HTML. figures: by name, those of them that there are."""
    # The name of the template is Jinja's to find: beside this file.
    environment = Environment(
        loader=PackageLoader("ddpm_lightning.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        sweep=sweep,
        rows=rows,
        columns=COLUMNS,
        titles=[title(column, rows) for column in COLUMNS],
        is_best=is_best,
        published=published,
        grids=grids_of(rows),
        figures={name: Markup(as_svg(figure)) for name, figure in figures.items()},  # matplotlib escapes its text
        command_of=command_of,
    )


def grids_of(rows: list[Row]) -> list[Grid]:
    """Of the seed that most rows have a grid of, for another seed is other noise; the final one if there is one."""
    drawn = {(row.key, run.seed): _last_grid(run) for row in rows for run in row.runs}
    seeds = Counter(seed for (_, seed), path in drawn.items() if path)
    if not seeds:
        return []
    seed = seeds.most_common(1)[0][0]
    found = ((row, run, drawn[row.key, seed]) for row in rows for run in row.runs if run.seed == seed)
    return [Grid(row, run, data_uri(path), _step(path)) for row, run, path in found if path]


def _last_grid(run: Run) -> Path | None:
    return max((run.folder / "samples").glob("grid_*.png"), default=None)  # digits come before letters


def _step(path: Path) -> str:
    return path.stem.removeprefix("grid_").lstrip("0") or "0"


def data_uri(path: Path) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()
