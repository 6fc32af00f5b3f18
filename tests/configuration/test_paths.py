"""Paths in options: read from the folder where the command was given, and told so that they can be pasted there."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from ddpm_lightning.configuration.paths import ABSOLUTE, EXPANDED, plain
from ddpm_lightning.runtime.command_line import command_for
from tests.commands import ROOT, SMALL, command, error_of

QUICK = ["trainer.max_steps=1", "callbacks.grid=null", "callbacks.strip=null", "callbacks.bound=null"]
QUICK += [option for option in SMALL if not option.startswith(("data", "trainer.max", "callbacks"))]


def _nested(key: str, value: object) -> dict[str, object]:
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def read(key: str, value: object) -> object:
    found: object = plain(OmegaConf.create(_nested(key, value)))
    for name in key.split("."):
        assert isinstance(found, dict)
        found = found[name]
    return found


@pytest.mark.parametrize("key", [*ABSOLUTE, *EXPANDED])
def test_a_home_folder_in_quotes_is_expanded(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(key, "~/x") == f"{tmp_path}/x"
    assert read(key, None) is None


@pytest.mark.parametrize("key", ABSOLUTE)
def test_relative_paths_are_of_this_folder(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(key, "deep/x") == f"{tmp_path}/deep/x"
    assert read(key, "/deep/x") == "/deep/x"


def test_what_stands_for_a_path_is_that_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = OmegaConf.create({"inception_weights": "x.pth", "quality": {"weights": "${inception_weights}"}})
    assert plain(cfg)["quality"]["weights"] == f"{tmp_path}/x.pth"
    assert cfg.inception_weights == "x.pth"


@pytest.mark.parametrize("typed", ["2024", "[a]", "{a: b}", "true"])
def test_a_path_that_is_read_as_another_thing(typed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "sample", f"checkpoint={typed}", f"hydra.run.dir={tmp_path}")
    assert "is not read as a path; quote it twice: 'checkpoint=\"" in said


def images(folder: Path) -> None:
    folder.mkdir()
    for number in range(20):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / f"{number:02}.png")


def test_a_python_without_the_package_is_told_the_path_of_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    assert shlex.split(command_for("sample.py")) == ["bin/python", str(ROOT / "sample.py")]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ddpm").touch()
    assert shlex.split(command_for("sample.py")) == ["bin/ddpm", "sample"]


@pytest.mark.parametrize("chdir", ["true", pytest.param("false", marks=pytest.mark.slow)])
def test_the_told_command_runs_where_the_user_stands(
    chdir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "images")
    where = ["hydra.run.dir=my runs/1", f"hydra.job.chdir={chdir}"]
    data = ["data=image_folder", "data.root=images", "data.side=4", "data.channels=1", "data.batch_size=4"]
    command("train", *where, *QUICK, *data)
    told = (tmp_path / "my runs/1/train.log").read_text().partition("Sample from it with: ")[2].splitlines()[0]
    program, *words = shlex.split(told)
    assert Path(program).is_file()
    assert words[-2] in ("sample", str(ROOT / "sample.py"))  # the latter where the package is not installed
    assert words[-1] == "checkpoint=my runs/1/checkpoints/last.ckpt"
    command("sample", words[-1], "num_images=2", "hydra.run.dir=samples", f"hydra.job.chdir={chdir}")
    assert (tmp_path / "samples" / "grid.png").is_file()
    if chdir == "true":
        checkpoint = tmp_path / "my runs/1/checkpoints/last.ckpt"
        assert torch.load(checkpoint, weights_only=True)["config"]["data"]["root"] == str(tmp_path / "images")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        command("evaluate", f"checkpoint={checkpoint}", "hydra.run.dir=results", "trainer.accelerator=cpu")
        assert (tmp_path / "elsewhere" / "results" / "results.json").is_file()
