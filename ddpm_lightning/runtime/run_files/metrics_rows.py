"""Reads metrics.csv, which has one row per logged step and one column per metric."""

import csv
from itertools import chain, zip_longest
from pathlib import Path

METRICS_FILE = "metrics.csv"


def read_rows(path: Path) -> list[dict[str, str]]:
    """Returns the rows of metrics.csv, with "" for a metric that was not logged at a step."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_summary(path: Path) -> tuple[dict[str, float], float]:
    """Returns the last value of each column of metrics.csv, as W&B's summary has it, and the seconds of all phases.

    A phase has a column `time/…`.
    """
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    columns = dict(zip(head, zip_longest(*rows, fillvalue=""), strict=False))
    last = {name: next(filter(None, reversed(values)), "") for name, values in columns.items()}
    spent = (map(float, filter(None, values)) for name, values in columns.items() if name.startswith("time/"))
    return {name: float(value) for name, value in last.items() if value}, sum(chain.from_iterable(spent))
