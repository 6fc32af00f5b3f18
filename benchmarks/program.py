"""The command line of `python -m benchmarks`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.benchmark import Benchmark
from benchmarks.check import differences, regressions
from benchmarks.device import fix_threads
from benchmarks.page import with_tables
from benchmarks.places import PAGE, RESULTS
from benchmarks.plans import full, short, small
from benchmarks.results import read, run, write
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries

log = logging.getLogger("benchmarks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        with quiet_libraries():
            return _command(options)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Side by side with every peer.")
    parser.add_argument("names", nargs="*", metavar="name", help="which benchmarks; without any, all of them")
    parser.add_argument("--checkpoint", type=Path, help="of a trained model, for bound_estimate and sample_quality")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--list", action="store_true", help="list the benchmarks, and measure nothing")
    mode.add_argument("--smoke", action="store_true", help="tiny settings, to see that they run; nothing is kept")
    mode.add_argument("--check", action="store_true", help="compare the ratios of a short run with the recorded ones")
    mode.add_argument("--page", action="store_true", help="write the page's tables, and measure nothing")
    return parser.parse_args(arguments)


def _command(options: argparse.Namespace) -> int:
    fix_threads()
    if options.page:
        write_page()
        return 0
    if options.smoke:
        with TemporaryDirectory() as folder:
            return measure_all(_chosen(small(options.checkpoint), options.names), Path(folder))
    if options.check:
        return check_all(_chosen(short(), options.names), RESULTS)
    benchmarks = _chosen(full(options.checkpoint), options.names)
    if options.list:
        list_all(benchmarks)
        return 0
    status = measure_all(benchmarks, RESULTS)
    write_page()
    return status


def _chosen(benchmarks: Sequence[Benchmark], names: Sequence[str]) -> list[Benchmark]:
    known = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if name not in known:
            raise UserError(f"there is no benchmark {name} here; choose among {', '.join(known)}")
    return [benchmark for benchmark in benchmarks if not names or benchmark.name in names]


def list_all(benchmarks: Sequence[Benchmark]) -> None:
    """Prints each benchmark with its question."""
    for benchmark in benchmarks:
        log.info("%-22s %s", benchmark.name, benchmark.question)


def measure_all(benchmarks: Sequence[Benchmark], folder: Path) -> int:
    """Runs the benchmarks one after another, and writes the file of each at once. Returns how many could not run."""
    failed = 0
    for benchmark in benchmarks:
        try:
            log.info("%s", write(run(benchmark), folder))
        except UserError as error:
            log.error("%s is left out: %s", benchmark.name, error)
            failed += 1
    return failed


def check_all(benchmarks: Sequence[Benchmark], folder: Path) -> int:
    """Prints the ratios that fell below the recorded ones, and returns their number."""
    fallen = 0
    for benchmark in benchmarks:
        recorded = read(benchmark.name, folder)
        if recorded is None:
            log.warning("%s has no recorded result; make bench records one", benchmark.name)
            continue
        now = run(benchmark)
        for sentence in differences(recorded, now):
            log.warning("%s: %s", benchmark.name, sentence)
        worse = list(regressions(recorded, now))
        for sentence in worse:
            log.error("%s: worse: %s", benchmark.name, sentence)
        log.info("%s: %s", benchmark.name, "worse" if worse else "as recorded, or better")
        fallen += len(worse)
    return fallen


def write_page() -> None:
    """Writes the tables into the page."""
    PAGE.write_text(with_tables(PAGE.read_text(), RESULTS))
