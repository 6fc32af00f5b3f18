"""What surrounds the jobs of a sweep: their folders, their configurations, and Slurm where there is none."""

import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from submitit import SlurmJob

from ddpm_lightning.errors import UserError
from ddpm_lightning.launching import slurm
from ddpm_lightning.launching.failures import names_of
from ddpm_lightning.launching.slurm import with_resources
from tests.commands import SMALL, command, error_of


@pytest.mark.slow
def test_a_refused_job_leaves_the_runs_own_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ("-m", f"hydra.sweep.dir={tmp_path}", *SMALL)
    command("train", *sweep, "seed=0,1")
    before = {path: path.read_bytes() for path in tmp_path.glob("*/.hydra/*.yaml")}
    assert len(before) == 6
    assert "another loss" in error_of(capsys, "train", *sweep, "seed=0,1", "loss=min_snr")
    assert {path: path.read_bytes() for path in tmp_path.glob("*/.hydra/*.yaml")} == before
    assert "another loss" in error_of(capsys, "train", *SMALL, f"hydra.run.dir={tmp_path}/0", "loss=min_snr")
    command("train", *SMALL, f"hydra.run.dir={tmp_path}/0", "trainer.max_steps=3")  # is finished
    assert {path: path.read_bytes() for path in tmp_path.glob("*/.hydra/*.yaml")} == before


def test_a_refused_command_leaves_the_record_of_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra's multirun.yaml, from which report.py reads what was asked for. If one job trains, it is that command's."""
    record, sweep = tmp_path / "multirun.yaml", ("-m", f"hydra.sweep.dir={tmp_path}", *SMALL, "trainer.max_steps=1")
    command("train", *sweep, "seed=0")
    before = record.read_bytes()
    error_of(capsys, "train", *sweep, "seed=0", "loss=min_snr")
    assert record.read_bytes() == before
    error_of(capsys, "train", *sweep, "seed=0,1", "loss=min_snr")  # seed 1 is new, and trains
    assert "loss=min_snr" in record.read_text()


@pytest.mark.parametrize("refused", ["foo=1,2", "schedule=linear,nosuch"])
def test_a_sweep_that_is_refused_before_its_first_job_writes_nothing(
    refused: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, plan = tmp_path / "multirun.yaml", tmp_path / "plan.json"
    record.write_text("hydra: {}")
    error_of(capsys, "train", "-m", f"hydra.sweep.dir={tmp_path}", refused)
    assert [*tmp_path.iterdir()] == [record]
    assert record.read_text() == "hydra: {}"
    error_of(capsys, "train", "experiment=table2_digits", f"hydra.sweep.dir={tmp_path}/new/deep", refused)
    assert not plan.exists()
    assert not (tmp_path / "new").exists()


def test_options_that_no_folder_can_be_named_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first job."""
    named = ["-m", "hydra.sweep.subdir=${hydra:job.override_dirname}", f"hydra.sweep.dir={tmp_path}", *SMALL]
    said = error_of(capsys, "train", *named, "seed=0,1")
    assert "longer than the 255 bytes of a name" in said
    assert "hydra.sweep.subdir='${hydra.job.num}'" in said
    assert not list(tmp_path.glob("*/"))


def slurm_that(folder: Path, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("sbatch", "srun", "squeue"):
        (folder / program).write_text(f"#!/bin/sh\n{does}\n")
        (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_slurm_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = error_of(capsys, "train", "-m", "hydra/launcher=slurm", f"hydra.sweep.dir={tmp_path}", "seed=0,1")
    assert "hydra/launcher=slurm needs Slurm, and there is no sbatch here" in said


def test_slurm_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    slurm_that(tmp_path, "echo sbatch: error: invalid partition specified: gpu >&2; exit 1", monkeypatch)
    said = error_of(capsys, "train", "-m", "hydra/launcher=slurm", f"hydra.sweep.dir={tmp_path}", "seed=0,1")
    assert "Slurm did not take the jobs: sbatch: error: invalid partition specified: gpu" in said


def test_one_run_is_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", "hydra/launcher=slurm", f"hydra.run.dir={tmp_path}")
    assert "sends the jobs of a sweep; add -m" in said


def test_gpus_that_nobody_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    slurm_that(tmp_path, "exit 1", monkeypatch)
    sweep = ("-m", "hydra/launcher=slurm", f"hydra.sweep.dir={tmp_path}", "seed=0,1", "trainer=ddp")
    assert "add hydra.launcher.gpus_per_node=4" in error_of(capsys, "train", *sweep)


GIVEN = {"tasks_per_node": 1, "setup": None, "additional_parameters": {"mail-type": "END"}}
OPEN: dict[str, Any] = {**GIVEN, **dict.fromkeys(("gpus_per_node", "gpus_per_task", "gres", "cpus_per_task"))}


@pytest.mark.parametrize(
    ("trainer", "workers", "asked", "gpus", "cpus"),
    [
        ({"accelerator": "cpu", "devices": 2}, 0, {}, None, 2),
        ({"accelerator": "auto", "devices": 1}, 3, {}, None, 4),
        ({"accelerator": "cuda", "devices": 2}, 1, {}, 2, 4),
        ({"accelerator": "cuda", "devices": "auto"}, 1, {"gpus_per_node": 4}, 4, 8),
        ({"accelerator": "cuda", "devices": "auto"}, 0, {"gres": "gpu:a100:4", "cpus_per_task": 16}, None, 16),
        ({"accelerator": "cuda", "devices": 4}, 1, {"gres": "gpu:a100:4"}, None, 8),
    ],
)
def test_what_a_job_asks_for_follows_its_processes(
    trainer: dict[str, Any], workers: int, asked: dict[str, Any], gpus: int | None, cpus: int
) -> None:
    jobs = [
        OmegaConf.create({"trainer": {"devices": 1}}),
        OmegaConf.create({"trainer": trainer, "data": {"num_workers": workers}}),
    ]
    params = with_resources({**OPEN, **asked}, jobs)
    assert (params["gpus_per_node"], params["cpus_per_task"]) == (gpus, cpus)
    assert params["additional_parameters"] == {"requeue": True, "mail-type": "END"}


def test_gpus_without_a_number() -> None:
    with pytest.raises(UserError, match=r"add hydra\.launcher\.gpus_per_node=4"):
        with_resources(OPEN, [OmegaConf.create({"trainer": {"accelerator": "cuda", "devices": "auto"}})])


@pytest.mark.parametrize("asked", [{"gres": "gpu:a100:4"}, {"gpus_per_task": 4}])
def test_cpus_for_gpus_whose_number_is_not_told(asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"trainer\.devices=auto with .*add hydra\.launcher\.cpus_per_task="):
        with_resources({**OPEN, **asked}, [OmegaConf.create({"trainer": {"accelerator": "cuda", "devices": "auto"}})])


@pytest.mark.parametrize(
    ("accelerator", "asked", "warned"), [("auto", {}, 1), ("cpu", {}, 0), ("auto", {"gpus_per_node": 1}, 0)]
)
def test_jobs_that_take_what_they_find_and_are_given_no_gpu(
    accelerator: str, asked: dict[str, Any], warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    with_resources({**OPEN, **asked}, 2 * [OmegaConf.create({"trainer": {"accelerator": accelerator, "devices": 1}})])
    assert caplog.text.count("No GPU is asked for") == warned


class Cluster:
    """A Slurm that answers so, the last answer for ever, and a clock that only waiting moves.

    done: when the result of a job can be seen, in seconds.
    """

    def __init__(self, folder: Path, answers: list[dict[str, str] | None], done: dict[str, float]) -> None:
        self.answers, self.done, self.now, self.asked = answers, done, 0.0, list[float]()
        self.jobs = [SlurmJob[Any](folder, job) for job in done]

    def queue(self) -> dict[str, str] | None:
        self.asked.append(self.now)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for job in self.jobs:
            if self.now >= self.done[job.job_id]:
                job.paths.result_pickle.touch()


RUNNING, NEVER = {"1": "running"}, math.inf


@pytest.mark.parametrize(
    ("answers", "done", "asked", "until"),
    [
        ([RUNNING, {}], {"1": 65.0}, 5, 65),  # its result is seen later than it is gone
        ([RUNNING, {}], {"1": NEVER}, 6, 76),  # and this one's never
        ([None, None, RUNNING], {"1": 50.0}, 4, 50),  # a Slurm that is down is asked no oftener
        ([RUNNING], {"1": 200.0, "2": NEVER}, 14, 200),  # one is gone, another goes on
    ],
)
def test_a_job_is_given_up_a_minute_after_it_is_gone(
    answers: list[dict[str, str] | None],
    done: dict[str, float],
    asked: int,
    until: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(tmp_path, answers, done)
    monkeypatch.setattr(slurm, "queue", cluster.queue)
    monkeypatch.setattr(slurm, "time", cluster)
    slurm.wait_for(cluster.jobs)
    assert cluster.asked == [slurm.SECONDS_PER_QUERY * turn for turn in range(asked)]
    assert cluster.now == until


def test_jobs_are_named_by_what_is_not_common_to_all() -> None:
    jobs = [["loss=vdm", "seed=0", "hydra.x=1"], ["loss=vdm", "seed=1", "hydra.x=1"]]
    assert names_of(jobs) == ["seed=0", "seed=1"]
    assert names_of(jobs[:1]) == ["loss=vdm seed=0"]
