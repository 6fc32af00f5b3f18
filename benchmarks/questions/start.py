"""Measures how long a command takes to start."""

import os
import sys
from dataclasses import dataclass

from benchmarks.benchmark import Benchmark
from benchmarks.findings import Comparison, Figure, Findings, compare
from benchmarks.measure import Side, spread, take_turns
from benchmarks.sides.runs import run_command

COMPLETION = {"COMP_LINE": "python train.py sched", "COMP_POINT": "21"}
"""The environment that bash gives Hydra's completion after `python train.py sched` and Tab."""

COMMANDS = {
    "`python train.py --help`": (["train.py", "--help"], {}),
    "shell completion": (["train.py", "-sc", "query=bash"], COMPLETION),
}
FLOOR = "`import hydra`"
LIMIT = 1.0


@dataclass(frozen=True, kw_only=True)
class Start(Benchmark):
    """Times each command in a process of its own, and discards its output."""

    question = "How long does it take to list the options?"

    def measure(self) -> Findings:
        floor = _command(["-c", "import hydra"], {})
        found = take_turns({FLOOR: floor, **{what: _command(*how) for what, how in COMMANDS.items()}}, self.rounds)
        return Findings(
            [self._against_floor(what, found) for what in COMMANDS],
            [Figure(what, spread(found[what]), "s", LIMIT) for what in COMMANDS],
        )

    def _against_floor(self, what: str, found: dict[str, list[float]]) -> Comparison:
        return compare(what, (what, f"Python and {FLOOR}"), found[what], found[FLOOR])


def _command(arguments: list[str], environment: dict[str, str]) -> Side:
    def run() -> None:
        command = [sys.executable, *arguments]
        run_command(command, {**os.environ, **environment})

    return run
