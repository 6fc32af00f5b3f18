"""Several processes are one run: the same numbers, one end for all, and a sweep of such runs."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.processes import number_of_processes
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.signals import STOP, requeue
from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.commands import SMALL, command, error_of, results, train
from tests.conftest import ROOT
from tests.runtime.test_stopped import QUALITY, assert_same_run, at, wait_for
from tests.training.test_quality import NAME

TWO = "trainer=ddp_cpu"
OPTIONS = [*QUALITY, "data.batch_size=8", "data.flip=true", "callbacks.ema.decay=0.9", "trainer.max_steps=50"]
OPTIONS += [f"callbacks.{name}.every_n_steps=25" for name in ("grid", "bound", "quality", "checkpoint")]
WITH_STRIP = [*OPTIONS, "callbacks.strip.every_n_steps=25"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run in one process and in two."""
    folder = tmp_path_factory.mktemp("runs")
    return train(folder / "one", *WITH_STRIP, plots=True), train(folder / "two", *WITH_STRIP, TWO, plots=True)


def test_two_processes_have_the_loss_curve_of_one(runs: tuple[Path, Path]) -> None:
    """The same images, flips, t and ε at the same step, each once: else the curves would part at the first step."""
    one, two = (
        [{key: float(row[key]) for key in row if key.startswith("train/loss") and row[key]} for row in rows(run)]
        for run in runs
    )
    assert len(one) == 50
    for step, (alone, together) in enumerate(zip(one, two, strict=True)):
        assert together == pytest.approx(alone, rel=1e-4), step


def rows(run: Path) -> list[dict[str, str]]:
    return [row for row in read_rows(run / "metrics.csv") if row["train/loss"]]


def test_two_processes_measure_what_one_does(runs: tuple[Path, Path]) -> None:
    for name in (NAME, "val/bpd_beta"):
        one, two = ([float(row[name]) for row in read_rows(run / "metrics.csv") if row.get(name)] for run in runs)
        assert len(one) == 2
        assert two == pytest.approx(one, rel=1e-3), name
    one, two = (results(run)["metrics"]["test/bpd_beta_estimate"] for run in runs)
    assert two["value"] == pytest.approx(one["value"], rel=1e-4)
    assert two["num_images"] == one["num_images"] == 81


def test_two_processes_average_and_draw_what_one_does(runs: tuple[Path, Path]) -> None:
    one, two = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in runs)
    for name, weight in one["ema"].items():
        torch.testing.assert_close(two["ema"][name], weight, rtol=1e-3, atol=1e-4)
    for path in (runs[0] / "samples").iterdir():
        ours, theirs = (np.asarray(Image.open(run / "samples" / path.name)).astype(int) for run in runs)
        assert np.abs(ours - theirs).mean() < 1, path.name


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(runs: tuple[Path, Path], tmp_path: Path) -> None:
    train(tmp_path, *OPTIONS, TWO, "trainer.max_steps=25")
    train(tmp_path, *OPTIONS)
    ours, theirs = (float(rows(run)[-1]["train/loss"]) for run in (runs[0], tmp_path))
    assert theirs == pytest.approx(ours, rel=1e-4)


def test_torch_does_not_warn_of_the_options_that_it_gets() -> None:
    """Of broadcast_buffers, which torch 2.13 calls deprecated, and whose successor older ones do not know."""
    if torch.distributed.is_initialized():  # by another test's run in this process
        torch.distributed.destroy_process_group()
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    options = yaml.safe_load((ROOT / "conf" / "trainer" / "ddp.yaml").read_text())["strategy"]
    given = {name: options[name] for name in ("broadcast_buffers", "gradient_as_bucket_view")}
    try:
        with warnings.catch_warnings(record=True) as heard, quiet_libraries():
            torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2), **given)
    finally:
        torch.distributed.destroy_process_group()
    assert not [str(each.message) for each in heard]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    kill = [*at("backward", 3), "+callbacks.signal.rank=1"]
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, TWO, *kill)
    assert "process 1 of 2 was ended by SIGKILL" in said
    assert time.monotonic() - began < 120
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_process_that_fails_ends_the_run_with_its_error(
    tmp_path: Path,
) -> None:
    fail = "+callbacks.fail={_target_: tests.moments.FailAt, step: 2, rank: 1}"
    call = [sys.executable, "train.py", f"hydra.run.dir={tmp_path}", *SMALL, TWO, fail]
    said = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert said.returncode == 1
    assert "RuntimeError: a bug" in said.stderr
    assert "a process failed; its traceback stands above" in said.stderr


@pytest.mark.slow
def test_a_mistake_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, TWO, "data.batch_size=3")
    assert said.count("data.batch_size=3 does not divide among 2 processes") == 1


@pytest.mark.slow
def test_asked_to_stop_both_stop_at_one_step_and_go_on(tmp_path: Path) -> None:
    options = [*OPTIONS, TWO, "trainer.max_steps=6", "network.dropout=0.1"]
    train(tmp_path / "whole", *options)
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "halves", *options, *at("after the step", 2, signal.SIGUSR1), "+callbacks.signal.rank=1")
    assert ended.value.code == 128 + signal.SIGUSR1
    assert read_checkpoint(tmp_path / "halves" / "checkpoints" / "last.ckpt")["global_step"] == 2
    train(tmp_path / "halves", *options)
    assert_same_run(tmp_path / "whole", tmp_path / "halves")


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_what_happens_to_the_first_happens_to_all(tmp_path: Path, signum: int) -> None:
    call = [sys.executable, "train.py", f"hydra.run.dir={tmp_path}", *SMALL, TWO, "trainer.max_steps=1000000"]
    run = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: (tmp_path / "checkpoints" / "last.ckpt").exists())
    members = children(run.pid)
    assert len(members) >= 2
    run.send_signal(signum)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == (130 if signum == signal.SIGINT else -signum), said
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members))
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] > 0


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.slow
def test_a_sweep_of_runs_of_two_processes(tmp_path: Path) -> None:
    before = dict(os.environ)
    command("train", "-m", f"hydra.sweep.dir={tmp_path}", *SMALL, TWO, "seed=0,1", "trainer.max_steps=2")
    values = [results(tmp_path / job)["metrics"]["test/bpd_beta_estimate"]["value"] for job in ("0", "1")]
    assert values[0] != values[1]
    assert dict(os.environ) == before


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_sweep_of_them_by_other_launchers(tmp_path: Path, launcher: str) -> None:
    options = [
        *SMALL,
        TWO,
        "seed=0,1",
        "trainer.max_steps=2",
        f"hydra/launcher={launcher}",
        f"hydra.sweep.dir={tmp_path}",
    ]
    said = subprocess.run(
        [sys.executable, "train.py", "-m", *options], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert said.returncode == 0, said.stderr
    assert all((tmp_path / job / "results.json").is_file() for job in ("0", "1"))


@pytest.mark.parametrize(("devices", "count"), [(1, 1), ("auto", 1), (3, 3), ("2", 2)])
def test_a_process_for_each_device(devices: object, count: int) -> None:
    assert number_of_processes({"accelerator": "cpu", "devices": devices}) == count


def test_devices_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"trainer\.devices=-7"):
        number_of_processes({"accelerator": "cpu", "devices": -7})


def test_a_warning_of_slurm_puts_the_job_into_the_queue_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    run = train_and_stop(tmp_path / "run", signal.SIGUSR1)
    assert run.code == 128 + signal.SIGUSR1
    assert asked.read_text().split() == ["requeue", "42"]


def test_what_comes_after_a_stopped_run_is_not_stopped(tmp_path: Path) -> None:
    train_and_stop(tmp_path, signal.SIGUSR2)
    STOP.check()  # raises Interrupted, had the signal stayed


def test_who_listened_before_hears_of_it_after_the_run_is_saved(tmp_path: Path) -> None:
    """As submitit does, which sends the job to the queue again."""
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda *_: heard.append((tmp_path / "checkpoints" / "last.ckpt").exists()))
    try:
        train_and_stop(tmp_path, signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [True]


def train_and_stop(folder: Path, signum: int) -> SystemExit:
    with pytest.raises(SystemExit) as ended:
        train(folder, *at("after the step", 1, signum))
    return ended.value


def test_ctrl_c_puts_nothing_into_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv("PATH", "")
    requeue(signal.SIGINT)
