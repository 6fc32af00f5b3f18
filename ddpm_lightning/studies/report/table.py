"""The table of a sweep in the paper's layout, as Markdown, and unrounded as CSV."""

import csv
import io
import math
from typing import Any

from ddpm_lightning.studies.report.rows import COLUMNS, GROUPS, Column, Row


def is_best(row: Row, rows: list[Row], column: Column) -> bool:
    """Whether no other row has a better mean. A row of which a seed diverged is in no contest."""
    whole = [each for each in rows if not any(run.diverged for run in each.runs)]
    means = [each.cell(column).mean for each in whole if math.isfinite(each.cell(column).mean)]
    return column.best is not None and len(means) > 1 and row in whole and row.cell(column).mean == column.best(means)


def heads(rows: list[Row]) -> list[str]:
    """The columns' titles, with the names of what was measured: FID ↓ fd_digits_1k_train, say."""
    return [" ".join(filter(None, title(column, rows))) for column in COLUMNS]


def title(column: Column, rows: list[Row]) -> tuple[str, str]:
    """The kind, with an arrow to where it is better; and the names of the metrics that stand below."""
    arrow = " ↓" if column.best is min else " ↑" if column.best is max else ""
    names = {_without_variance(name, row) for row in rows for name in row.cell(column).names}
    return column.title + arrow, " or ".join(sorted(names))


def _without_variance(name: str, row: Row) -> str:
    """test/bpd_beta and test/bpd_learned are of the same kind: test/bpd."""
    return name.replace(f"_{row.key[GROUPS.index('variance')]}", "")


def markdown(rows: list[Row], missing: list[tuple[str, ...]]) -> str:
    """The table in the paper's layout, the paper's numbers beside ours, the best in bold; and the jobs not begun."""
    head = ["objective", "IS, paper", "FID, paper", *heads(rows), "runs"]
    lines = [_line(head), _line(["---"] * len(head))]
    prediction = ""
    for row in rows:
        if row.prediction != prediction:
            lines.append(_line([f"**{row.prediction}**", *[""] * (len(head) - 1)]))
        prediction = row.prediction
        lines.append(_line([row.objective, *published(row), *(bold(row, rows, c) for c in COLUMNS), row.state]))
    lines += [f"\nNot begun: `{' '.join(job)}`" for job in missing]
    return "\n".join(lines) + "\n"


def published(row: Row) -> list[str]:
    """The paper's IS and FID: a dash where it has one, nothing where it has no such row."""
    if row.published is None:
        return ["", ""]
    return [column.paper(row.published) or "–" for column in COLUMNS if column.paper]


def bold(row: Row, rows: list[Row], column: Column) -> str:
    """The cell, in bold where it is the best."""
    text = str(row.cell(column))
    return f"**{text}**" if is_best(row, rows, column) else text


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def records(rows: list[Row]) -> tuple[list[str], list[list[Any]]]:
    """Columns and data for a CSV file or a W&B table, unrounded."""
    columns = ["prediction", "objective", *GROUPS, "IS, paper", "FID, paper"]
    for title_ in heads(rows):
        columns += [title_, f"{title_}: standard error", f"{title_}: seeds"]
    return [*columns, "runs"], [_record(row) for row in rows]


def _record(row: Row) -> list[Any]:
    data: list[Any] = [row.prediction, row.objective, *row.key[: len(GROUPS)], *published(row)]
    for column in COLUMNS:
        cell = row.cell(column)
        data += [cell.mean if cell.values else None, cell.error, len(cell.values)]
    return [*data, row.state]


def as_csv(rows: list[Row]) -> str:
    """The same as a file."""
    columns, data = records(rows)
    table = io.StringIO(newline="")
    csv.writer(table).writerows([columns, *data])
    return table.getvalue()
