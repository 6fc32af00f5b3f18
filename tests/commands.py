"""Runs train.py and sample.py as a user would, in this process, on something that takes a second."""

import json
import multiprocessing
import runpy
import signal
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[1]  # not conftest's, whose type checker tests/fuzz does without

WITH_PLOTS = [
    "network.channels=8",
    "network.groups=4",
    "network.multipliers=[1,1]",
    "network.attention=[]",
    "data=fake",
    "data.channels=1",
    "data.size=[4,4]",
    "data.levels=17",
    "data.num_images=16",
    "data.batch_size=4",
    "data.eval_batch_size=5",
    "schedule.T=8",
    "trainer.max_steps=4",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "module.warmup_steps=2",
    "module.test_strata=2",
    "callbacks.metrics.every_n_steps=1",
    "callbacks.bound.num_images=8",
    "callbacks.bound.strata=2",
    "callbacks.grid.every_n_steps=2",
    "callbacks.grid.num_images=4",
    "callbacks.strip.every_n_steps=2",
    "callbacks.strip.num_images=2",
    "callbacks.checkpoint.every_n_steps=2",
    "logger=csv",
]
"""A small run with everything that a run draws."""

SMALL = [
    *WITH_PLOTS,
    *(f"callbacks.{name}=null" for name in ("schedule_plot", "loss_curve", "loss_by_t")),
    "callbacks.strip=null",
    "callbacks.grid.every_n_steps=1000",
]
"""Without pictures but the final samples: to draw them takes longer than all the rest."""


def command(script: str, *overrides: str) -> None:
    """`python SCRIPT.py OVERRIDES…`; raises SystemExit where that would exit."""
    GlobalHydra.instance().clear()
    before = sys.argv
    sys.argv = [f"{script}.py", *overrides]
    try:
        # Hydra takes the tracing of coverage for a debugger, before which it would show its tracebacks.
        with patch("hydra._internal.utils.is_under_debugger", return_value=False):
            runpy.run_path(str(ROOT / f"{script}.py"), run_name="__main__")
    finally:
        sys.argv = before


def slow(*cases: Any) -> list[Any]:
    """Cases of a test that repeat what the others show, and wait for `make test-slow`."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


def train(run_dir: Path, *overrides: str, plots: bool = False) -> Path:
    """A small run; returns its directory."""
    command("train", f"hydra.run.dir={run_dir}", *(WITH_PLOTS if plots else SMALL), *overrides)
    return run_dir


def killed(run_dir: Path, *overrides: str) -> None:
    """Runs train.py in a copy of this process, which the overrides must kill."""
    options = ("train", f"hydra.run.dir={run_dir}", *overrides)
    copy = multiprocessing.get_context("fork").Process(target=command, args=options)
    copy.start()
    copy.join(200)
    assert copy.exitcode == -signal.SIGKILL


def results(run_dir: Path) -> dict[str, Any]:
    """results.json of a run."""
    return dict(json.loads((run_dir / "results.json").read_text()))


def error_of(capsys: pytest.CaptureFixture[str], script: str, *overrides: str) -> str:
    """What a command that must fail says. Asserts that it fails, and without a traceback."""
    with pytest.raises(SystemExit) as exit_:
        command(script, *overrides)
    said = capsys.readouterr().err + (exit_.value.code if isinstance(exit_.value.code, str) else "")
    assert exit_.value.code not in (0, None)
    assert "Traceback" not in said
    return said
