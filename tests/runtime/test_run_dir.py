"""Folders of commands: two commands never share one by accident, and one that is refused changes no file."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from omegaconf import OmegaConf

from ddpm_lightning.diffusion.losses import Simple
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime import run_directory
from ddpm_lightning.runtime.run_directory import folders_of_hydra, new_folder
from tests.commands import SMALL, command, error_of

QUICK = [*SMALL, "trainer.max_steps=1", "callbacks.grid=null", "callbacks.strip=null", "callbacks.bound=null"]
WITH_FOLDERS = ("train", "sample", "evaluate", "figure", "train_classifier")
THIS_YEAR = "${now:%Y}"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_many_commands_at_once_make_a_folder_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(new_folder, [tmp_path / "deep" / "2026-11-30"] * 64))
    assert sorted(made) == sorted((tmp_path / "deep").iterdir())
    assert len({*made}) == 64


@pytest.mark.parametrize("script", WITH_FOLDERS)
def test_every_command_names_its_folder_after_the_time(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    command(script, "--cfg", "hydra")
    hydra = OmegaConf.create(capsys.readouterr().out).hydra
    for part in (hydra.run, hydra.sweep):
        assert "${now:" in str(OmegaConf.to_container(part, resolve=False)["dir"])  # type: ignore[call-overload,index]
    assert any("DirectoryCheck" in str(callback) for callback in hydra.callbacks.values())


@pytest.mark.parametrize("script", WITH_FOLDERS)
def test_a_folder_named_after_the_time_is_new(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(script, "--cfg", "hydra", f"hydra.run.dir={tmp_path}/{THIS_YEAR}", "--resolve")
    of_another = Path(OmegaConf.create(capsys.readouterr().out).hydra.run.dir)
    (of_another / "generated").mkdir(parents=True)
    with patch.object(run_directory, "remove_unused"):  # which a refused command does at its end
        error_of(capsys, script, f"hydra.run.dir={tmp_path}/{THIS_YEAR}", "seed=-1")
    assert not contents(of_another)
    assert (tmp_path / f"{of_another.name}_2").is_dir()


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_several_processes_are_told_one_folder(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "2")
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}/{THIS_YEAR}")
    assert "name one for all with hydra.run.dir=PATH" in said
    assert not list(tmp_path.iterdir())


def test_two_sweeps_at_once_keep_their_runs_apart(tmp_path: Path) -> None:
    for seeds in ("0,1", "2,3"):
        command("train", "-m", f"hydra.sweep.dir={tmp_path}/{THIS_YEAR}", *QUICK, f"seed={seeds}")
    checkpoints = sorted(tmp_path.glob("*/*/checkpoints/last.ckpt"))
    seeds = [torch.load(path, weights_only=True)["config"]["seed"] for path in checkpoints]
    assert seeds == [0, 1, 2, 3]
    typed = [OmegaConf.load(path.parents[1] / ".hydra" / "config.yaml").seed for path in checkpoints]
    assert typed == seeds


def test_a_home_folder_in_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command("train", 'hydra.run.dir="~/run"', *QUICK)
    command("train", "-m", 'hydra.sweep.dir="~/sweep"', *QUICK)
    assert (tmp_path / "run" / "results.json").is_file()
    assert (tmp_path / "sweep" / "0" / "results.json").is_file()
    assert not (tmp_path / "~").exists()


def test_a_run_that_is_refused_before_its_first_step_leaves_no_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report would take it for a run that began."""
    refused = ["-m", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=deep/${hydra.job.num}", *QUICK]
    assert "exceeds the 16 training images" in error_of(capsys, "train", *refused, "data.batch_size=17")
    assert not list(tmp_path.rglob(".hydra"))


REFUSED = {
    "train": [*QUICK, "data.batch_size=17"],
    "sample": ["checkpoint=nowhere.ckpt"],
    "evaluate": ["checkpoint=nowhere.ckpt"],
    "figure": ["checkpoint=nowhere.ckpt", "figure=[interpolation]"],
    "train_classifier": ["steps=0"],
}


@pytest.mark.parametrize(("script", "mistake"), REFUSED.items())
def test_a_command_that_is_refused_leaves_no_folder(
    script: str, mistake: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But what was there before stays."""
    error_of(capsys, script, f"hydra.run.dir={tmp_path}/new", *mistake)
    error_of(capsys, script, f"hydra.run.dir={tmp_path}/{THIS_YEAR}", *mistake)
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    error_of(capsys, script, f"hydra.run.dir={tmp_path}/mine", *mistake)
    assert (tmp_path / "mine" / f"{script}.log").is_file()


def test_a_run_that_fails_after_its_start_keeps_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with patch.object(Simple, "__call__", side_effect=UserError("not today")):
        error_of(capsys, "train", f"hydra.run.dir={tmp_path}/new", *QUICK)
    assert "failed: not today" in (tmp_path / "new" / "train.log").read_text()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["-m", "seed=0,1", "hydra.run.dir={}/x"], "hydra.run.dir= has no effect, because this is a sweep; use "),
        (["hydra.mode=MULTIRUN", "hydra.run.dir={}/x"], "hydra.run.dir= has no effect, because this is a sweep; use "),
        (["hydra.sweep.dir={}/x"], "hydra.sweep.dir= has no effect, because this is a single run; use "),
    ],
)
@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_the_folder_of_the_other_mode_is_refused(
    typed: list[str], words: str, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in error_of(capsys, script, *(each.format(tmp_path) for each in typed))
    assert not list(tmp_path.iterdir())


def test_the_folders_of_jobs_are_found_without_a_look_at_all_their_files(tmp_path: Path) -> None:
    for job in ("0", "deep/1"):
        (tmp_path / job / ".hydra").mkdir(parents=True)
        (tmp_path / job / "samples" / "more").mkdir(parents=True)
    with patch("os.scandir", wraps=os.scandir) as look:
        found = sorted(folders_of_hydra(tmp_path))
    assert found == [tmp_path / "0" / ".hydra", tmp_path / "deep" / "1" / ".hydra"]
    assert {call.args[0] for call in look.call_args_list} <= {tmp_path, tmp_path / "deep"}


@pytest.mark.parametrize("mode", ["run", "sweep"])
def test_a_command_that_fails_leaves_the_configuration_of_the_one_before(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [*(["-m"] if mode == "sweep" else []), f"hydra.{mode}.dir={tmp_path}"]
    for seed in (1, 2):
        error_of(capsys, "evaluate", *where, f"seed={seed}", f"checkpoint={tmp_path}/none")
        if seed == 1:
            before = {path: path.read_bytes() for path in tmp_path.rglob(".hydra/*.yaml")}
    assert before
    assert {path: path.read_bytes() for path in tmp_path.rglob(".hydra/*.yaml")} == before


def test_a_run_that_resumes_describes_itself_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it fails later: its checkpoint is of the new options then."""
    fail = "+callbacks.fail={_target_: tests.moments.FailAt, step: 3, rank: 0}"
    command("train", f"hydra.run.dir={tmp_path}", *QUICK, "trainer.max_steps=2")
    with pytest.raises(SystemExit):
        command("train", f"hydra.run.dir={tmp_path}", *QUICK, "trainer.max_steps=4", fail)
    config = OmegaConf.load(tmp_path / ".hydra" / "config.yaml")
    assert config.trainer.max_steps == 4
    assert "run_dir: ${hydra:runtime.output_dir}" in OmegaConf.to_yaml(config)
    assert OmegaConf.load(tmp_path / ".hydra" / "hydra.yaml").hydra.runtime.output_dir == str(tmp_path)
    assert "trainer.max_steps=4" in OmegaConf.load(tmp_path / ".hydra" / "overrides.yaml")
