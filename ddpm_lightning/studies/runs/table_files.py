"""A table as a file: CSV, or Parquet where pyarrow is installed."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.runs.run_table import RunTable, as_text, is_number


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically, and makes its folder. Raises UserError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another path") from error


def csv_of(table: RunTable) -> bytes:
    """Returns the whole table as a CSV file, with unrounded numbers; a value that a run lacks is empty."""
    return csv_text(table.columns, ([cell(row[name]) for name in table.columns] for row in table.rows)).encode()


def cell(value: Any) -> Any:
    """Returns what a CSV file holds for a value: nothing for None, true and false in lower case."""
    return "" if value is None else as_text(value) if isinstance(value, bool | list) else value


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a table as the text of a CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue()


def parquet_of(table: RunTable) -> bytes:
    """Returns the whole table as a Parquet file. A column of numbers alone is float64, any other one text."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "parquet= needs pyarrow, which is not installed: pip install pyarrow, or use csv=PATH"
        ) from None
    buffer = io.BytesIO()
    columns = {name: alike([row[name] for row in table.rows]) for name in table.columns}
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def alike(values: Sequence[Any]) -> list[Any]:
    """Returns the values of a column as floats if all are numbers, and as texts otherwise; None stays None."""
    known = [value for value in values if value is not None]
    numbers = bool(known) and all(isinstance(value, float) or is_number(value) for value in known)
    return [None if value is None else float(value) if numbers else as_text(value) for value in values]
