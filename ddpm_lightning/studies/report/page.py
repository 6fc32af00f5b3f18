"""The page of a sweep: one HTML file with pictures and style inside, without links or scripts."""

from collections.abc import Mapping
from typing import Any

from ddpm_lightning.studies.report.rows import Row, columns_of
from ddpm_lightning.studies.report.runs import Sweep
from ddpm_lightning.studies.report.sample_strips import grids_of
from ddpm_lightning.studies.report.table import is_best, published, title
from ddpm_lightning.studies.report.templates import rendered
from ddpm_lightning.studies.runs.trained_run import command_of


def page(sweep: Sweep, rows: list[Row], figures: Mapping[str, Any]) -> str:
    """Returns the page of a sweep as HTML. figures: matplotlib figures by name."""
    return rendered(
        "page.html",
        figures,
        sweep=sweep,
        rows=rows,
        columns=columns_of(rows),
        titles=[title(column, rows) for column in columns_of(rows)],
        is_best=is_best,
        published=published,
        grids=grids_of(rows),
        command_of=command_of,
    )
