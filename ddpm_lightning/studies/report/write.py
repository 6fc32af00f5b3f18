"""Writes the report of a sweep: table2.md, table2.csv, report.html and the figures as PNG files."""

import logging
from pathlib import Path

from lightning.pytorch.loggers import Logger

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.errors import counted
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.pictures import save
from ddpm_lightning.runtime.plots import as_image
from ddpm_lightning.studies.report.page import page
from ddpm_lightning.studies.report.rows import Row, rows_of
from ddpm_lightning.studies.report.runs import read_sweep
from ddpm_lightning.studies.report.sample_strips import samples
from ddpm_lightning.studies.report.sweep_plots import drawn
from ddpm_lightning.studies.report.table import as_csv, markdown, records
from ddpm_lightning.training.loggers.media import media_of

log = logging.getLogger(__name__)


def write_report(folder: Path) -> list[Row]:
    """Writes the report of a sweep into its directory, logs a summary, and returns the rows of the table."""
    sweep = read_sweep(relative(folder))
    rows = rows_of(sweep)
    search = f"\nSearch: {sweep.best}\n" if sweep.best else ""
    write_text(folder / "table2.md", markdown(rows, sweep.missing) + search)
    write_text(folder / "table2.csv", as_csv(rows))
    figures = drawn(rows)
    for name, figure in {**figures, "samples": samples(rows)}.items():
        if figure is not None:
            save(as_image(figure), folder / f"{name}.png")
    write_text(folder / "report.html", page(sweep, rows, figures))
    for row in rows:
        log.info("%s: %s", row.label, row.state)
    for damage in sweep.damaged:
        log.warning("Left out: %s", damage)
    if sweep.missing:
        log.info("Not begun: %s", counted(len(sweep.missing), "run"))
    if sweep.best:
        log.info("Search: %s", sweep.best)
    log.info("Written: %s", relative(folder / "report.html"))
    return rows


def log_table(logger: Logger, rows: list[Row], folder: Path) -> None:
    """Sends the table, the page and their files to a logger that takes them."""
    media = media_of(logger)
    media.show_table("table2", *records(rows))
    media.show_page("report", (folder / "report.html").read_text(encoding="utf-8"))
    media.keep_files("report", [folder / name for name in ("report.html", "table2.md", "table2.csv")])
