"""The command line of `python -m benchmarks.scaling`."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.device import fix_threads, machine
from benchmarks.page import PLACE, origin
from benchmarks.places import ROOT
from benchmarks.scaling import measured, runs, tables
from benchmarks.scaling.plot import draw
from benchmarks.scaling.recipes import recipes
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.results import commit, write_results

log = logging.getLogger("scaling")

FOLDER = ROOT / "experiments" / "scaling"
PAGE, RESULTS, PLOT = (FOLDER / name for name in ("README.md", "results.json", "step.png"))
CHECKS = (measured.operations, measured.memory, measured.speed, measured.traffic)
INPUTS = (measured.host, measured.platform, measured.reading, measured.inception)
RUNS = (runs.accumulation, runs.large_steps)
MEASURED: dict[str, Callable[[], Any]] = {work.__name__: work for work in (*CHECKS, *INPUTS, *RUNS)}

OF_MEASURED = (tables.operations, tables.memory, tables.accumulation, tables.speed, tables.traffic)
OF_INPUTS = (tables.host, tables.large_steps)
OF_PLAN = (tables.papers_speed, tables.memory_of_recipes, tables.costs, tables.growth, tables.bottlenecks)
TABLES: dict[str, Callable[[tables.Record], Iterator[str]]] = {
    table.__name__: table for table in (*OF_MEASURED, *OF_INPUTS, *OF_PLAN)
}
COMMAND = "python -m benchmarks.scaling"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(COMMAND, description="What the recipes cost on H100s, on paper.")
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"what is measured again, of {', '.join(MEASURED)}; all"
    )
    parser.add_argument("--page", action="store_true", help="write the page's tables and figure; measure nothing")
    options = parser.parse_args()
    unknown = set(options.names) - MEASURED.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))} to be measured; choose of {', '.join(MEASURED)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    fix_threads()
    if not options.page:
        with quiet_libraries():
            measure(options.names or list(MEASURED))
    write_page(read())


def measure(names: list[str]) -> None:
    """Measures each part, and writes it to the file of results at once, with its origin."""
    for name in names:
        where = {"command": f"{COMMAND} {name}", "commit": commit(), "machine": machine()}
        log.info("%s …", name)
        record = read()
        record[name] = MEASURED[name]()
        record["origin"] = {**record.get("origin", {}), name: where}
        write_results(RESULTS, record)


def read() -> tables.Record:
    """Returns all recorded measurements."""
    return dict(json.loads(RESULTS.read_text())) if RESULTS.is_file() else {}


def write_page(record: tables.Record) -> None:
    """Writes the tables into the page, and draws its figure."""
    PAGE.write_text(with_tables(PAGE.read_text(), record))
    of_each_size = [each for each in recipes() if each.name != "lsun256"]  # whose step is celebahq256's
    draw(record, of_each_size, PLOT)


def with_tables(page: str, record: tables.Record) -> str:
    """Returns the page with all tables that it has a marker for."""
    return PLACE.sub(lambda place: place[1] + "\n".join(_lines(place[2], record)) + "\n" + place[3], page)


def _lines(name: str, record: tables.Record) -> Iterator[str]:
    yield from TABLES[name](record)
    yield f"\nMeasured: {origin(record['origin'][name])}.\n" if name in record["origin"] else "\nCalculated.\n"
