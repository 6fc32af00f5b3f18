"""`report.py run=DIR`: the page of one run has its numbers, pictures and commands, and needs nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest

from ddpm_lightning.studies.report.single.numbers import MeasuredNumber
from ddpm_lightning.studies.report.single.run_page import MOST_PICTURES, pictures_of, write_run_page
from ddpm_lightning.studies.runs.trained_run import read_run
from tests.commands import command, error_of, results, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with pictures and the bound over every t, and its page."""
    run = train(tmp_path_factory.mktemp("run"), "metrics=[bpd]", "callbacks.grid.every_n_steps=2", "loss=elbo")
    command("report", f"run={run}")
    return run


def test_the_page_has_what_the_files_say(run: Path) -> None:
    page = (run / "report.html").read_text()
    for name, record in results(run)["metrics"].items():
        assert f"<td>{name}</td><td>{MeasuredNumber(name, record)}</td>" in page
    assert page.count("data:image/png;base64,") == len([*(run / "samples").glob("*.png")]) >= 2
    assert page.count("<svg") == 2
    assert f"hydra.run.dir={run}" in page
    assert f"checkpoint={run}/checkpoints/last.ckpt" in page
    assert '<td>loss</td><td class="text">elbo</td>' in page
    assert results(run)["libraries"]["torch"] in page


def test_the_page_needs_nothing_else(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)(?!#)", page)
    assert "<script" not in page


def test_a_run_without_numbers_or_pictures_has_a_page(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / ".hydra", tmp_path / "run" / ".hydra")
    write_run_page(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "results.json does not exist yet" in page
    assert "None has been drawn yet" in page


def test_names_of_runs_cannot_break_the_page(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "<script>"
    shutil.copytree(run / ".hydra", copy / ".hydra")
    diverged = {"step": 1, "reason": "<script>alert(1)</script>"}
    (copy / "results.json").write_text(json.dumps({"metrics": {}, "diverged": diverged}))
    write_run_page(copy)
    assert "<script" not in (copy / "report.html").read_text()


def test_of_many_pictures_the_first_and_the_last_are_shown(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / ".hydra", tmp_path / ".hydra")
    (tmp_path / "samples").mkdir()
    for step in range(0, 4000, 40):
        (tmp_path / "samples" / f"grid_{step:07d}.png").touch()
    found = pictures_of(read_run(tmp_path), "grid")
    assert len(found) == MOST_PICTURES
    assert (found[0].stem, found[-1].stem) == ("grid_0000000", "grid_0003960")


def test_mistakes_are_told_in_a_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is no folder of a run" in error_of(capsys, "report", f"run={tmp_path}/none")
    assert "leave one out" in error_of(capsys, "report", f"run={run}", f"sweep={run}")
    assert "or run=DIR" in error_of(capsys, "report")
