"""Prints every number of several runs as a mean with its standard error: a table in Markdown."""

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.report.rows import Cell


def numbers_of(path: Path) -> dict[str, float]:
    """Returns the metrics of a run by name. path: its results.json, or the directory of that."""
    file = path / "results.json" if path.is_dir() else path
    try:
        metrics: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        return {name: float(record["value"]) for name, record in metrics.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is not a results.json with metrics ({error}); name the directory of a run") from error


def table(paths: Iterable[Path]) -> str:
    """Returns a Markdown table with a line for each number: name, mean ± standard error, number of runs."""
    found: dict[str, list[float]] = {}
    for path in paths:
        for name, value in numbers_of(path).items():
            found.setdefault(name, []).append(value)
    lines = ["| number | mean ± standard error | runs |", "|---|---|---|"]
    for name, values in found.items():
        finite = [value for value in values if math.isfinite(value)]
        runs = f"{len(values)}" + (f", {len(values) - len(finite)} of them not finite" if finite != values else "")
        lines.append(f"| {name} | {Cell(tuple(finite), frozenset({name}))} | {runs} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of the runs on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path, help="a directory with a results.json, or such a file")
    try:
        print(table(parser.parse_args(arguments).run))
    except UserError as error:
        parser.exit(1, f"Error: {error}\n")


if __name__ == "__main__":
    main()
