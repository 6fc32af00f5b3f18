"""On a real Slurm: sweeps of runs of several processes, preemption, failure, several nodes, images by an array."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands import SMALL, command, results, train
from tests.conftest import ROOT
from tests.evaluation.test_evaluate import LIKE_DIGITS
from tests.runtime.test_processes import OPTIONS, TWO, rows
from tests.runtime.test_stopped import assert_same_run, wait_for

pytestmark = pytest.mark.slurm

STEPS = [*OPTIONS, "trainer.max_steps=10"]

LONG = [*OPTIONS, "network.dropout=0.1", "trainer.max_steps=120", TWO]
SLOWLY = "+callbacks.slowly={_target_: tests.moments.Slowly, seconds: 0.3}"


def sweep(folder: Path, *options: str) -> "subprocess.Popen[str]":
    """train.py with the jobs of a sweep in Slurm; from another folder than the checkout."""
    call = [sys.executable, str(ROOT / "train.py"), "-m", "hydra/launcher=slurm", f"hydra.sweep.dir={folder}/sweep"]
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*call, *SMALL, *options], cwd=folder, **said)  # type: ignore[call-overload,no-any-return]


def sbatch(folder: Path, script: str, arguments: Sequence[str], *options: str) -> str:
    """The job's number. Its output is in folder/said.txt."""
    script_ = ROOT / "slurm" / script
    call = ["sbatch", "--parsable", f"--output={folder}/said.txt", f"--chdir={ROOT}", *options, script_, *arguments]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()


def state(job: str) -> str:
    said = subprocess.run(["scontrol", "show", "job", job], check=True, capture_output=True, text=True).stdout
    found = re.search(r"JobState=(\w+)", said)
    assert found
    return found[1]


def wait_for_job(folder: Path, job: str) -> None:
    wait_for(lambda: state(job) not in ("PENDING", "RUNNING", "COMPLETING"), seconds=600)
    assert state(job) == "COMPLETED", (folder / "said.txt").read_text()


def assert_same_losses(one: Path, other: Path) -> None:
    alone, together = rows(one), rows(other)
    assert len(alone) == len(together) > 0
    for ours, theirs in zip(alone, together, strict=True):
        assert float(theirs["train/loss"]) == pytest.approx(float(ours["train/loss"]), rel=1e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one process."""
    return train(tmp_path_factory.mktemp("alone"), *STEPS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that never stopped."""
    return train(tmp_path_factory.mktemp("whole"), *LONG)


def test_a_sweep_of_three_jobs_of_two_processes(alone: Path, tmp_path: Path) -> None:
    run = sweep(tmp_path, *STEPS, TWO, "seed=0,1,2")
    said, _ = run.communicate(timeout=900)
    assert run.returncode == 0, said
    assert re.findall(r"Job \d+_\d: (\S+) \(sweep/slurm/\d+_\d_0_log.out\)", said) == ["seed=0", "seed=1", "seed=2"]
    runs = [tmp_path / "sweep" / job for job in "012"]
    assert len({results(run)["metrics"]["test/bpd_beta_estimate"]["value"] for run in runs}) == 3
    assert_same_losses(alone, runs[0])
    assert "--cpus-per-task=2" in next((tmp_path / "sweep" / "slurm").glob("*_submission.sh")).read_text()


def test_a_job_that_is_preempted_goes_on_as_if_it_had_not_been(whole: Path, tmp_path: Path) -> None:
    """Twice: the signal of submitit, which puts the job into the queue again, and one that it does not know."""
    run = sweep(tmp_path, *LONG, SLOWLY)
    folder = tmp_path / "sweep" / "0"
    for turn, signal in enumerate(("USR2", "USR1")):
        wait_for(lambda: count_steps(folder) > 40 * turn + 5, seconds=300)  # noqa: B023
        (job,) = (path.name.partition("_")[0] for path in (tmp_path / "sweep" / "slurm").glob("*_submitted.pkl"))
        subprocess.run(["scancel", f"--signal={signal}", job], check=True)
        wait_for(lambda: (folder / "train.log").read_text().count("Stopped by") == turn + 1)  # noqa: B023
    said, _ = run.communicate(timeout=900)
    assert run.returncode == 0, said
    log = (folder / "train.log").read_text()
    assert log.count("Resuming from") == 2
    assert "Stopped by SIGUSR2" in log
    assert "Stopped by SIGUSR1" in log
    assert_same_run(whole, folder)


def count_steps(folder: Path) -> int:
    return len(rows(folder)) if (folder / "metrics.csv").exists() else 0


def test_a_job_whose_time_is_over_goes_on(whole: Path, tmp_path: Path) -> None:
    """By sbatch alone, which warns it before."""
    run = tmp_path / "run"
    job = sbatch(
        tmp_path,
        "train.sbatch",
        [str(run), *SMALL, *LONG, SLOWLY, "callbacks.slowly.seconds=1"],
        "--time=4",
        "--signal=USR1@120",
    )
    log = run / "train.log"
    wait_for(lambda: log.exists() and "Stopped by SIGUSR1" in log.read_text(), seconds=600)
    subprocess.run(["scontrol", "update", f"jobid={job}", "timelimit=20"], check=True)
    wait_for_job(tmp_path, job)
    assert "Resuming from" in log.read_text()
    assert_same_run(whole, run)


def test_a_job_that_fails_is_named_and_the_others_finish(tmp_path: Path) -> None:
    """One by a mistake, another from outside."""
    run = sweep(tmp_path, *STEPS, TWO, "data.batch_size=8,3,4")
    assert run.stdout is not None
    job = next(found[1] for line in run.stdout if (found := re.search(r"Job (\d+)_2: data.batch_size=4", line)))
    subprocess.run(["scancel", f"{job}_2"], check=True)
    said, _ = run.communicate(timeout=900)
    assert run.returncode == 1
    assert "Error: 2 of 3 jobs failed" in said
    mistake = r"data\.batch_size=3: data\.batch_size=3 does not divide among 2 processes.*; its log is (\S+)"
    found = re.search(mistake, said)
    assert found, said
    assert "data.batch_size=3 does not divide" in (tmp_path / found[1]).read_text()
    assert f"data.batch_size=4: job {job}_2 was ended before it was done" in said
    assert "Traceback" not in said
    assert [state(f"{job}_{number}") for number in "01"] == ["COMPLETED", "FAILED"]
    assert (tmp_path / "sweep" / "0" / "results.json").is_file()


@pytest.mark.parametrize("script", ["nodes_srun.sbatch", "nodes_torchrun.sbatch"])
def test_two_nodes_have_the_loss_curve_of_one_process(alone: Path, tmp_path: Path, script: str) -> None:
    job = sbatch(tmp_path, script, [str(tmp_path / "run"), *SMALL, *STEPS, TWO], "--nodes=2", "--ntasks-per-node=1")
    wait_for_job(tmp_path, job)
    assert_same_losses(alone, tmp_path / "run")


def test_a_run_on_two_nodes_that_is_warned_goes_on(whole: Path, tmp_path: Path) -> None:
    """Though the first of its processes has more to do before it ends."""
    run, closed = tmp_path / "run", "+logger.slowly={_target_: tests.moments.ClosedSlowly, seconds: 10}"
    arguments = [str(run), *SMALL, *LONG, SLOWLY, closed]
    job = sbatch(tmp_path, "nodes_srun.sbatch", arguments, "--nodes=2", "--ntasks-per-node=1")
    wait_for(lambda: count_steps(run) > 5, seconds=300)
    subprocess.run(["scancel", "--signal=USR1", job], check=True)
    wait_for_job(tmp_path, job)
    log = (run / "train.log").read_text()
    assert "Stopped by SIGUSR1" in log
    assert "Resuming from" in log
    assert_same_run(whole, run)


def test_an_array_of_jobs_makes_the_images_of_one(tmp_path: Path) -> None:
    path = train(tmp_path / "run", *LIKE_DIGITS) / "checkpoints" / "last.ckpt"
    options = [
        f"checkpoint={path}",
        "num_images=72",
        "batch_size=9",
        "trainer.accelerator=cpu",
        f"cache={tmp_path}/cache",
    ]
    where = [f"generated={tmp_path}/shared", f"hydra.run.dir={tmp_path}/part"]
    job = sbatch(tmp_path, "images.sbatch", [*options, *where], "--array=0-1")
    wait_for_job(tmp_path, f"{job}_0")
    wait_for_job(tmp_path, f"{job}_1")
    metrics = "metrics=[fd_digits]"
    command(
        "evaluate", *options, metrics, f"generated={tmp_path}/shared", "parts=2", f"hydra.run.dir={tmp_path}/merged"
    )
    command("evaluate", *options, metrics, f"generated={tmp_path}/own", f"hydra.run.dir={tmp_path}/alone")
    assert results(tmp_path / "merged")["metrics"] == results(tmp_path / "alone")["metrics"]
