"""Writes the tables of the page from the files of results. No number is typed by hand."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.results import Record, read

PLACE = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Matches the place of a benchmark's tables in the page."""

NOTHING = "Not measured yet.\n"


def with_tables(page: str, folder: Path) -> str:
    """Returns the page with the tables of all benchmarks that it has a marker for."""

    def fill(place: re.Match[str]) -> str:
        record = read(place[2], folder)
        return place[1] + (NOTHING if record is None else "\n".join(_lines(record)) + "\n") + place[3]

    return PLACE.sub(fill, page)


def _lines(record: Record) -> Iterator[str]:
    yield from _comparisons(record["comparisons"])
    yield from _figures(record["figures"])
    for series in record["series"]:
        yield from _series(series)
    if record["series"]:
        yield f"![{record['question']}](results/{record['name']}.png)\n"
    yield _origin(record)


def _comparisons(comparisons: list[Record]) -> Iterator[str]:
    if comparisons:
        yield from head("what", "ours", "theirs", "ratio (quartiles)", "at least", "reached")
    for each in comparisons:
        ours = f"{each['our_name']}: {number(each['ours'])} {each['unit']}"
        theirs = f"{each['their_name']}: {number(each['theirs'])} {each['unit']}"
        reached = each["target"] is not None and each["ratio"]["median"] >= each["target"]
        yield row(each["what"], ours, theirs, _spread(each["ratio"]), *_verdict(each["target"], reached))
    yield ""


def _figures(figures: list[Record]) -> Iterator[str]:
    if figures:
        yield from head("what", "median (quartiles)", "unit", "at most", "reached")
    for each in figures:
        reached = each["limit"] is not None and each["value"]["median"] <= each["limit"]
        yield row(each["what"], _spread(each["value"]), each["unit"], *_verdict(each["limit"], reached))
    yield ""


def _series(series: Record) -> Iterator[str]:
    yield from head(series["along"], f"{series['what']}, {series['unit']} (quartiles)", "grows with the power of")
    before = None
    for here in zip(series["places"], series["values"], strict=True):
        yield row(number(here[0]), _spread(here[1]), "" if before is None else f"{_exponent(before, here):.2f}")
        before = here
    yield ""


def _exponent(before: tuple[float, Record], here: tuple[float, Record]) -> float:
    """Returns the exponent p of a cost that grows as place^p between two places. 1 is linear."""
    return math.log(here[1]["median"] / before[1]["median"]) / math.log(here[0] / before[0])


def _origin(record: Record) -> str:
    return f"{origin(record)}. Settings: {_settings(record['settings'])}.\n"


def origin(record: Record) -> str:
    """Returns command, commit and machine of a measurement, as a sentence."""
    machine = record["machine"]
    parts = [
        f"`{record['command']}`",
        f"commit {str(record['commit'])[:8]}",
        f"{machine['gpu'] or machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads",
        f"torch {machine['torch']}",
        f"load {machine['load_at_start']} at the start",
    ]
    return "; ".join(parts)


def _settings(settings: Record) -> str:
    """Returns the settings without the shape of the network, which the file holds."""
    return ", ".join(f"{key} {_setting(value)}" for key, value in settings.items() if not isinstance(value, dict))


def _setting(value: Any) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)


def _verdict(bound: float | None, reached: bool) -> tuple[str, str]:
    return ("", "") if bound is None else (number(bound), "yes" if reached else "no")


def _spread(spread: Record) -> str:
    return f"{number(spread['median'])} ({number(spread['lower'])} – {number(spread['upper'])})"


def number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def head(*names: str) -> Iterator[str]:
    yield row(*names)
    yield "|" + "---|" * len(names)


def row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
