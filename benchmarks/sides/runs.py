"""Runs train.py in a process of its own, and reads the time of a step from its metrics.csv."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.device import threads
from benchmarks.places import ROOT

QUIETLY = ["callbacks.bound=null", "callbacks.grid=null", "callbacks.strip=null", "callbacks.loss_curve=null"]
SHORTLY = ["module.test_strata=2", "callbacks.checkpoint=null", "callbacks.progress=null", "quality=none"]


def as_command(options: list[str], before: str = "") -> list[str]:
    """Returns the command of train.py with these options. before: Python code that runs first."""
    as_script = "import runpy, sys; sys.argv[0] = 'train.py'; runpy.run_path('train.py', run_name='__main__')"
    return [sys.executable, *(["-c", f"{before}\n{as_script}"] if before else ["train.py"]), *options]


def run_command(command: list[str], environment: dict[str, str]) -> str:
    """Runs a command in the checkout and returns what it printed.

    Raises:
        RuntimeError: if it fails, with the end of its error output.
    """
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-1000:]}")
    return done.stdout


def seconds_a_step(*options: str, steps: int, batch_size: int, processes: int = 1) -> list[float]:
    """Returns the seconds of a step in each eighth of the run but the first. batch_size: of each process."""
    with TemporaryDirectory() as run_dir:
        sizes = [
            f"data.batch_size={batch_size * processes}",
            f"trainer.max_steps={steps}",
            f"trainer.devices={processes}",
            f"callbacks.metrics.every_n_steps={max(1, steps // 8)}",
            f"hydra.run.dir={run_dir}",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, threads() // processes))}
        run_command(as_command([*options, *QUIETLY, *SHORTLY, *sizes]), environment)
        with (Path(run_dir) / "metrics.csv").open(newline="") as file:
            rates = [float(row["train/images_per_s"]) for row in csv.DictReader(file) if row["train/images_per_s"]]
    return [batch_size * processes / rate for rate in rates[1:]]
