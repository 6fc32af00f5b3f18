"""Times several runs of train.py in turns of seconds. Each is paused while another one runs.

Whole runs, one after another, would be minutes apart. On a shared machine one minute differs from the next by more than
the runs differ.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.device import threads
from benchmarks.measure import in_turns
from benchmarks.places import ROOT
from benchmarks.sides.runs import QUIETLY, SHORTLY, as_command
from benchmarks.sides.step_clock import ends_of_steps
from ddpm_lightning.configuration.allowed_targets import TRUST

STARTED = 20
"""Number of steps until a run counts as started."""

PATIENCE = 300.0
"""Seconds without a step after which a run counts as failed."""


@dataclass(frozen=True)
class Side:
    """A run of train.py.

    Args:
        options: Its own options.
        before: Python code that runs first.
        lone: Whether its helper processes stay paused in its turns, as if they hung.
    """

    options: tuple[str, ...]
    before: str = ""
    lone: bool = False


@dataclass(frozen=True)
class Live:
    """A running train.py without an end."""

    process: subprocess.Popen[bytes]
    folder: Path
    lone: bool

    def ends(self) -> list[float]:
        """Returns the times at which the steps so far ended."""
        return ends_of_steps(self.folder / "steps")

    def stop(self) -> None:
        """Pauses the run, then its helper processes, so that it never waits for them."""
        self._tell(signal.SIGSTOP, helpers=True)

    def go_on(self) -> None:
        """Continues the run and its helper processes."""
        self._tell(signal.SIGCONT, helpers=not self.lone)

    def turn(self, seconds: float, period: int) -> float:
        """Returns the mean seconds of a step over this turn, from the end of its first step, over whole periods.

        Whole periods count what happens once in a period.
        """
        start = time.monotonic()
        self.go_on()
        time.sleep(seconds)
        inside = self.wait_for(period + 1, start)
        self.stop()
        steps = (len(inside) - 1) // period * period
        return (inside[steps] - inside[0]) / steps

    def wait_for(self, steps: int, start: float) -> list[float]:
        """Waits for a number of steps, and returns the times at which they ended."""
        while len(inside := [end for end in self.ends() if end > start]) < steps:
            self.check()
            if time.monotonic() > start + PATIENCE:
                raise RuntimeError(f"train.py stands still: {self.last_words()}")
            time.sleep(0.01)
        return inside

    def check(self) -> None:
        """Raises RuntimeError with the end of its output if the run has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"train.py ended: {self.last_words()}")

    def last_words(self) -> str:
        """Returns the end of the output."""
        return (self.folder / "said").read_text()[-2000:]

    def _tell(self, what: signal.Signals, helpers: bool) -> None:
        run = psutil.Process(self.process.pid)
        for each in [run, *(run.children(recursive=True) if helpers else [])]:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(what)


def take_turns_of_runs(
    sides: Mapping[str, Side], common: tuple[str, ...], rounds: int, seconds: float, period: int
) -> dict[str, list[float]]:
    """Times a step of each side in each round, in the order A B C, C B A, A B C ….

    A turn has the given seconds, and at least one period of steps.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    with ExitStack() as stack:
        runs = {name: stack.enter_context(_live(side, common)) for name, side in sides.items()}
        for name in in_turns(runs, rounds):
            found[name].append(runs[name].turn(seconds, period))
    return found


@contextmanager
def _live(side: Side, common: tuple[str, ...]) -> Iterator[Live]:
    """Starts a run, and pauses it."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        own = [f"hydra.run.dir={folder}/run", f"+callbacks.clock.path={folder}/steps", "trainer.max_steps=1000000"]
        own.append("+callbacks.clock._target_=benchmarks.sides.step_clock.StepClock")
        command = as_command([*side.options, *common, *QUIETLY, *SHORTLY, *own], side.before)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads()), TRUST: "benchmarks"}
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        live = Live(process, folder, side.lone)
        try:
            live.wait_for(STARTED, time.monotonic())
            live.stop()
            yield live
        finally:
            _kill(process)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(psutil.NoSuchProcess):
        run = psutil.Process(process.pid)
        for each in [*run.children(recursive=True), run]:
            each.kill()
    process.wait()
