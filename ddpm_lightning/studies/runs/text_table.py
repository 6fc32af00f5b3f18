"""A table as lines of text for a terminal, as wide as that is."""

import shutil
import sys
from collections.abc import Iterator

from ddpm_lightning.errors import UserError, counted, shown
from ddpm_lightning.studies.runs.conditions import names_like
from ddpm_lightning.studies.runs.run_table import FIRST, RunTable, as_text, is_number

OF_TRAINING = ("train/", "time/", "samples/")
"""The beginnings of names that are not shown unless columns= asks for them."""

GAP = "  "


def chosen_columns(table: RunTable, asked: object) -> list[str]:
    """Returns the columns to show: those that columns= names, else the choices that differ, and the metrics.

    Raises:
        UserError: columns= is no list of names, or no run has a name.
    """
    if asked is None:
        metrics = [name for name in table.metrics if not name.startswith(OF_TRAINING)]
        metrics = [name for name in metrics if any(row[name] is not None for row in table.rows)]
        metrics.sort(key=lambda name: sum(row[name] is None for row in table.rows))
        return [*FIRST[:-1], *(name for name in ("seed", *table.choices) if differs(name, table)), *metrics]
    if not isinstance(asked, list):
        raise UserError(f"columns={shown(asked)} is no list of names; write it like columns=[run,state,fd_*]")
    return list(dict.fromkeys(name for each in asked for name in names_like(str(each), table, "columns")))


def differs(name: str, table: RunTable) -> bool:
    """Returns whether a column has several values."""
    return len({as_text(row[name]) for row in table.rows}) > 1


def in_lines(table: RunTable, names: list[str]) -> Iterator[str]:
    """Yields a table as lines: the names, the runs, and their number. A terminal gets as many columns as it holds."""
    cells = [[name, *(rounded(row[name]) for row in table.rows)] for name in names]
    widths = [max(map(len, column)) for column in cells]
    shown_columns = columns_within(widths) if sys.stdout.isatty() else len(names)
    numeric = [all(row[name] is None or is_number(row[name]) for row in table.rows) for name in names]
    for line in zip(*cells[:shown_columns], strict=True):
        parts = zip(line, widths, numeric, strict=False)
        yield GAP.join(f"{text:>{width}}" if right else f"{text:<{width}}" for text, width, right in parts).rstrip()
    left_out = len(names) - shown_columns
    more = f"; {counted(left_out, 'more column')}: make the window wider, or use columns= or csv=" if left_out else ""
    yield f"{counted(len(table.rows), 'run')}{more}"


def columns_within(widths: list[int]) -> int:
    """Returns how many of the columns fit into the terminal: at least one."""
    room = shutil.get_terminal_size().columns
    fitting = [n for n in range(1, len(widths) + 1) if sum(widths[:n]) + len(GAP) * (n - 1) <= room]
    return max(fitting, default=1)


def rounded(value: object) -> str:
    """Returns a value as text: a number with four digits, a dash for none."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else as_text(value)
