"""Measures what W&B costs a training step, and what it costs when it hangs."""

from dataclasses import dataclass

from benchmarks.benchmark import Benchmark
from benchmarks.findings import Findings, compare
from benchmarks.sides.runs_in_turns import Side, take_turns_of_runs

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
"""Code that stops the process of W&B as soon as it has started."""

CSV, WANDB, HANGING = "logger=csv", "W&B", "W&B, hanging"
SIDES = {
    CSV: Side(("logger=csv",)),
    WANDB: Side(("logger=wandb_offline",)),
    HANGING: Side(("logger=wandb_offline", "logger.wandb.patience=1"), HANGS, lone=True),
}


@dataclass(frozen=True, kw_only=True)
class WandbCost(Benchmark):
    """Times runs of train.py on digits that take turns.

    Args:
        rounds: Number of turns of each run.
        seconds: Length of a turn.
        log_every: Steps between log entries; train.py's default is 50.
        share: The least ratio of a step without W&B to one with it.

    """

    rounds: int = 40
    seconds: float = 4.0
    log_every: int = 10
    overrides: tuple[str, ...] = ()
    share: float | None = 0.98

    question = "What does W&B add to a training step?"

    def measure(self) -> Findings:
        common = (f"callbacks.metrics.every_n_steps={self.log_every}", *self.overrides)
        found = take_turns_of_runs(SIDES, common, self.rounds, self.seconds, self.log_every)
        return Findings(
            [
                compare("training step, digits", (name, CSV), found[name], found[CSV], target=self.share)
                for name in (WANDB, HANGING)
            ]
        )
