"""What W&B costs a training step: as it is, and when it hangs."""

import statistics
from dataclasses import dataclass

from tests.benchmarks.benchmark import Benchmark
from tests.benchmarks.findings import Findings, compare
from tests.benchmarks.runs import seconds_a_step

HANGS = """
import os, signal, subprocess, threading, time

def stop_it():
    while True:
        found = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True).stdout
        for number in found.split():
            os.kill(int(number), signal.SIGSTOP)
            return
        time.sleep(0.1)

threading.Thread(target=stop_it, daemon=True).start()
"""
"""Stops the process that W&B has started, as soon as it is there."""

SIDES = {"logger=csv": ("csv", ""), "W&B": ("wandb_offline", ""), "W&B, hanging": ("wandb_offline", HANGS)}


@dataclass(frozen=True, kw_only=True)
class WandbCost(Benchmark):
    """Runs of train.py on digits, with their log written eight times; a round is one run of each kind.

    share: the least that a step without W&B is of one with it.
    """

    steps: int = 80
    batch_size: int = 128
    overrides: tuple[str, ...] = ()
    share: float | None = 0.98

    question = "What does W&B add to a training step?"

    def measure(self) -> Findings:
        found: dict[str, list[float]] = {name: [] for name in SIDES}
        for turn in range(self.rounds):
            for name in list(SIDES)[:: 1 if turn % 2 == 0 else -1]:
                found[name].append(self._seconds(*SIDES[name]))
        first, *others = SIDES
        return Findings(
            [
                compare("training step, digits", (name, first), found[name], found[first], target=self.share)
                for name in others
            ]
        )

    def _seconds(self, logger: str, before: str) -> float:
        options = (f"logger={logger}", *self.overrides, *(["logger.wandb.patience=1"] if before else []))
        return statistics.median(seconds_a_step(*options, steps=self.steps, batch_size=self.batch_size, before=before))
