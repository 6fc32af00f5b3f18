"""The page of a sweep: one HTML file with pictures and style inside, without links or scripts."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ddpm_lightning.studies.report.rows import Row, columns_of
from ddpm_lightning.studies.report.runs import Sweep
from ddpm_lightning.studies.report.sample_strips import grids_of
from ddpm_lightning.studies.report.sweep_plots import as_svg
from ddpm_lightning.studies.report.table import is_best, published, title
from ddpm_lightning.studies.runs.trained_run import command_of


def page(sweep: Sweep, rows: list[Row], figures: Mapping[str, Any]) -> str:
    """Returns the page of a sweep as HTML. figures: matplotlib figures by name."""
    environment = Environment(
        loader=PackageLoader("ddpm_lightning.studies.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html").render(
        sweep=sweep,
        rows=rows,
        columns=columns_of(rows),
        titles=[title(column, rows) for column in columns_of(rows)],
        is_best=is_best,
        published=published,
        grids=grids_of(rows),
        data_uri=data_uri,
        figures={name: Markup(as_svg(figure)) for name, figure in figures.items()},  # matplotlib escapes its text
        command_of=command_of,
    )


def data_uri(path: Path) -> str:
    """Returns a data URI that contains a PNG file."""
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()
