"""Gives commands to a worker and says what must hold of the outcome: a whole result, or one clear error."""

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.conftest import ROOT

DEADLINE = 120
"""Seconds: far more than any of these runs takes on a busy machine."""


class Runner:
    """Keeps a worker alive; one that hangs or dies is replaced."""

    def __init__(self) -> None:
        self.worker: subprocess.Popen[str] | None = None

    def run(self, script: str, *overrides: str) -> dict[str, Any]:
        """The outcome of a command. Asserts that it ends, and the worker lives."""
        worker = self._alive()
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps({"script": script, "overrides": overrides}) + "\n")
        worker.stdin.flush()
        ready, _, _ = select.select([worker.stdout], [], [], DEADLINE)
        answer = worker.stdout.readline() if ready else ""
        if not answer:
            self.close()
        assert ready, f"no answer within {DEADLINE} s: {overrides}"
        assert answer, f"the process died: {overrides}"
        return dict(json.loads(answer))

    def _alive(self) -> "subprocess.Popen[str]":
        if self.worker is None:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"],
                cwd=ROOT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self.worker

    def close(self) -> None:
        """Ends the worker."""
        if self.worker is not None:
            self.worker.kill()
            self.worker.communicate()
            self.worker = None


def assert_whole_or_told(outcome: dict[str, Any], run_dir: Path) -> None:
    """The command made a whole result, or it said one sentence and left no half of one."""
    said = outcome["said"]
    assert "Traceback" not in said, said
    files = [path for path in run_dir.rglob("*") if path.is_file()] if run_dir.is_dir() else []
    assert not [path for path in files if ".tmp" in path.name]
    for path in files:
        if path.suffix == ".ckpt":
            read_checkpoint(path)
    results = run_dir / "results.json"
    if outcome["code"] == 0:
        assert json.loads(results.read_text())["metrics"]
    else:
        assert outcome["code"] == 1, said
        assert not results.exists(), said
        assert said.strip()
