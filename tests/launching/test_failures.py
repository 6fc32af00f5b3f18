"""Jobs that fail: each is told when it has, is in its own log, and is listed at the end."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from submitit import SlurmJob
from submitit.core.utils import cloudpickle_dump

from ddpm_lightning.launching import slurm
from tests.commands import SMALL, command, error_of
from tests.conftest import ROOT

REFUSED = ["learned", "learned_range"]
SWEEP = [*SMALL, "trainer.max_steps=1", "variance=learned,learned_range,beta"]
"""Three jobs, of which the first two are refused."""


def why(variance: str) -> str:
    return f"variance={variance} cannot be trained by a squared error, which gives Σ_θ no gradient"


def check_logs_and_list(folder: Path, said_at_the_end: str) -> None:
    assert "Error: 2 of 3 jobs failed\n" in said_at_the_end
    for number, variance in enumerate(REFUSED):
        log = folder / str(number) / "train.log"
        assert f"{folder}/{number} failed: {why(variance)}" in log.read_text()
        assert f"\n  variance={variance}: {why(variance)}" in said_at_the_end
        assert f"its log is {log}" in said_at_the_end
    assert "ERROR" not in (folder / "2" / "train.log").read_text()
    assert (folder / "2" / "results.json").exists()


def test_failures_of_a_sweep_are_told_at_once_and_listed_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command("train", "-m", *SWEEP, f"hydra.sweep.dir={tmp_path}")
    assert ended.value.code == 1
    said = capsys.readouterr()
    for number, variance in enumerate(REFUSED):
        told = said.out.index(f"{number} failed: {why(variance)}")
        assert said.out.index(f"#{number} :") < told < said.out.index(f"#{number + 1} :")
    assert "Traceback" not in said.out + said.err
    assert "Error executing job" not in said.err
    check_logs_and_list(tmp_path, said.err)


@pytest.mark.slow  # two processes that import everything; the launcher in this process is tested above
def test_failures_of_a_sweep_in_parallel(tmp_path: Path) -> None:
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}"]
    call = [sys.executable, "train.py", "-m", *SWEEP, *parallel]
    ended = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert all(why(variance) in ended.stdout for variance in REFUSED)
    check_logs_and_list(tmp_path, ended.stderr)


def test_an_error_of_the_program_has_its_traceback_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(cfg: Any) -> None:
        raise ZeroDivisionError("by 0")

    monkeypatch.setattr("ddpm_lightning.cli.train.run", broken)
    said = error_of(capsys, "train", "-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}")
    assert "2 of 2 jobs failed\n  seed=0: ZeroDivisionError('by 0'); its log is" in said
    log = (tmp_path / "0" / "train.log").read_text()
    assert "Traceback" in log
    assert 'raise ZeroDivisionError("by 0")' in log


def test_the_error_of_a_single_run_is_in_its_log_and_once_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command("train", *SMALL, "variance=learned", f"hydra.run.dir={tmp_path}")
    said = capsys.readouterr()
    assert (said.out + said.err).count(why("learned")) == 1
    assert f"failed: {why('learned')}" in (tmp_path / "train.log").read_text()


def test_a_failure_on_slurm_is_told_while_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [SlurmJob[Any](tmp_path, job) for job in ("7_0", "7_1")]
    told: list[str] = []

    def sleep(seconds: float) -> None:
        told.append(caplog.text)
        ended = ("error", "Traceback …\nhydra.errors.CompactHydraException: Error: no room")
        cloudpickle_dump(ended if len(told) == 1 else ("success", JobReturn()), jobs[len(told) > 1].paths.result_pickle)

    monkeypatch.setattr(slurm, "queue", lambda: {"7_0": "running", "7_1": "running"})
    monkeypatch.setattr(slurm.time, "sleep", sleep)
    slurm.wait_for(jobs, slurm.log_failure)
    assert "failed" not in told[0]
    assert "Job 7_0 failed: no room; its log is" in told[1]
    assert "7_1 failed" not in caplog.text
