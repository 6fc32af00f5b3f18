"""A sweep as one page that needs nothing else: pictures and style are inside, and there is no script."""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ddpm_lightning.report.figures import bounds, curves
from ddpm_lightning.report.rows import COLUMNS, Row
from ddpm_lightning.report.runs import Run, Sweep
from ddpm_lightning.report.table import is_best, published, title


@dataclass(frozen=True)
class Grid:
    """The samples of a row's first seed that has any. step: of the weights that made them."""

    row: Row
    run: Run
    image: str
    step: str


def page(sweep: Sweep, rows: list[Row]) -> str:
    """The page, as HTML."""
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
        grids=[grid for row in rows if (grid := grid_of(row))],
        curves=_markup(curves(rows)),
        bounds=_markup(bounds(rows)),
        commits=commits(sweep),
    )


def grid_of(row: Row) -> Grid | None:
    """The last grid that was drawn, the final one if there is one."""
    for run in row.runs:
        drawn = sorted((run.folder / "samples").glob("grid_*.png"))  # digits come before letters
        if drawn:
            return Grid(row, run, data_uri(drawn[-1]), drawn[-1].stem.removeprefix("grid_").lstrip("0") or "0")
    return None


def data_uri(path: Path) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()


def commits(sweep: Sweep) -> list[str]:
    """At which the runs ended."""
    return sorted({str(run.outcome["commit"]) for run in sweep.runs if run.outcome.get("commit")})


def _markup(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)  # matplotlib's, in which it escapes what it was given
