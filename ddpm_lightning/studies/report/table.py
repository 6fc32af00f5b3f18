"""The table of a sweep in the layout of the paper's Table 2: as Markdown, and unrounded as CSV."""

import math
from typing import Any

from ddpm_lightning.studies.report.rows import COLUMNS, GROUPS, Column, Row, columns_of
from ddpm_lightning.studies.runs.table_files import csv_text

MOST_NAMES = 3
"""The most names of metrics that the head of a column lists."""


def is_best(row: Row, rows: list[Row], column: Column) -> bool:
    """Returns whether no other row has a better mean in this column. Rows with a diverged seed do not compete."""
    competing = [each for each in rows if not any(run.diverged for run in each.runs)]
    means = [mean for each in competing if math.isfinite(mean := each.cell(column).mean)]
    if column.best is None or len(means) < 2 or row not in competing:
        return False
    return row.cell(column).mean == column.best(means)


def heads(rows: list[Row]) -> list[str]:
    """Returns the titles of all columns with the names of their metrics, like `FID ↓ fd_digits_1k_train`."""
    return [" ".join(filter(None, title(column, rows))) for column in columns_of(rows)]


def title(column: Column, rows: list[Row]) -> tuple[str, str]:
    """Returns the title of a column with an arrow to its better end, and the names of its metrics."""
    arrow = " ↓" if column.best is min else " ↑" if column.best is max else ""
    names = {_without_variance(name, row) for row in rows for name in row.cell(column).names}
    listed = " or ".join(sorted(names)) if len(names) <= MOST_NAMES else f"{min(names)} and others"
    return column.title + arrow, listed


def _without_variance(name: str, row: Row) -> str:
    """Returns the name of a metric without the row's variance: test/bpd for test/bpd_beta."""
    return name.replace(f"_{row.key[GROUPS.index('variance')]}", "")


def markdown(rows: list[Row], missing: list[tuple[str, ...]]) -> str:
    """Returns the table as Markdown: the paper's numbers beside ours, the best in bold, then the jobs not begun."""
    head = ["objective", "IS, paper", "FID, paper", *heads(rows), "runs"]
    lines = [_line(head), _line(["---"] * len(head))]
    shown = columns_of(rows)
    prediction = ""
    for row in rows:
        if row.prediction != prediction:
            lines.append(_line([f"**{row.prediction}**", *[""] * (len(head) - 1)]))
        prediction = row.prediction
        lines.append(_line([row.objective, *published(row), *(bold(row, rows, c) for c in shown), row.state]))
    lines += [f"\nNot begun: `{' '.join(job)}`" for job in missing]
    return "\n".join(lines) + "\n"


def published(row: Row) -> list[str]:
    """Returns the paper's IS and FID of a row: a dash for an unstable one, '' if the paper has no such row."""
    if row.published is None:
        return ["", ""]
    return [column.paper(row.published) or "–" for column in COLUMNS if column.paper]


def bold(row: Row, rows: list[Row], column: Column) -> str:
    """Returns a cell as Markdown, in bold if it is the best of its column."""
    text = str(row.cell(column))
    return f"**{text}**" if is_best(row, rows, column) else text


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def records(rows: list[Row]) -> tuple[list[str], list[list[Any]]]:
    """Returns the column names and the unrounded rows, for a CSV file or a W&B table."""
    columns = ["prediction", "objective", *GROUPS, "IS, paper", "FID, paper"]
    for head in heads(rows):
        columns += [head, f"{head}: standard error", f"{head}: seeds"]
    shown = columns_of(rows)
    return [*columns, "runs"], [_record(row, shown) for row in rows]


def _record(row: Row, shown: list[Column]) -> list[Any]:
    data: list[Any] = [row.prediction, row.objective, *row.key[: len(GROUPS)], *published(row)]
    for column in shown:
        cell = row.cell(column)
        data += [cell.mean if cell.values else None, cell.error, len(cell.values)]
    return [*data, row.state]


def as_csv(rows: list[Row]) -> str:
    """Returns the unrounded table as the text of a CSV file."""
    columns, data = records(rows)
    return csv_text(columns, data)
