"""Table 2, whole: six rows, one of which diverges, killed and begun again; and what the report makes of them."""

import csv
import json
import math
import re
import shutil
import statistics
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
import torch
from PIL import Image

from ddpm_lightning.diffusion.losses import Simple
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.exact_bound import ExactBound
from ddpm_lightning.runtime.command_line import command_for
from ddpm_lightning.runtime.results import with_warnings
from ddpm_lightning.studies.report.dashboard import TABLE
from ddpm_lightning.studies.report.plan import add_to_plan, read_plan
from ddpm_lightning.studies.report.rows import BITS, COLUMNS, DISTANCE, Cell, Row, rows_of, with_error
from ddpm_lightning.studies.report.runs import read_sweep
from ddpm_lightning.studies.report.sample_strips import samples
from ddpm_lightning.studies.report.sweep_plots import drawn
from ddpm_lightning.studies.report.write import write_report
from ddpm_lightning.studies.runs.trained_run import read_run
from tests.commands import command, error_of, results
from tests.studies.report.small_sweep import ROWS, killed_in, mu_with_simple_diverging, options
from tests.training.loggers.wandb_records import read_run as read_logged

SEEDS = (0, 1)
DIVERGED = "mu_beta_simple"
DISTANCE_HEAD = "Fréchet distance ↓ fd_digits_70_train"
FIGURES = ("tradeoff", "training", "bound")


class Swept(NamedTuple):
    """A sweep that was killed in the fourth row and begun again. before: its page then, and when each file of results
    was written."""

    folder: Path
    page_before: str
    written_before: dict[Path, int]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("sweeps") / "table2_digits"
    again = options(folder, f"seed={','.join(map(str, SEEDS))}")
    with mu_with_simple_diverging():
        with killed_in(ROWS[3]), pytest.raises(SystemExit) as stopped:
            command("train", *again)
        assert stopped.value.code == 130
        write_report(folder)
        before = (folder / "report.html").read_text()
        written = {path: path.stat().st_mtime_ns for path in folder.glob("*/results.json")}
        command("train", *again)
    return Swept(folder, before, written)


def run_of(swept: Swept, row: str, seed: int) -> Path:
    return swept.folder / f"{row}_seed{seed}"


def test_a_row_that_diverges_is_recorded_and_the_sweep_goes_on(swept: Swept) -> None:
    for seed in SEEDS:
        diverged = results(run_of(swept, DIVERGED, seed))["diverged"]
        assert diverged["step"] == 0
        assert "1 step in a row had a loss or gradient that is NaN or infinite" in diverged["reason"]
    for row in set(ROWS) - {DIVERGED}:
        assert list(results(run_of(swept, row, 0))["evaluated"]) == ["bpd", "fd_digits", "score_digits"]


def test_what_was_finished_is_not_done_again(swept: Swept) -> None:
    finished = [run_of(swept, row, 0) / "results.json" for row in ROWS[:3]]
    assert set(finished) <= set(swept.written_before)
    for path in finished:
        assert path.stat().st_mtime_ns == swept.written_before[path]


def test_what_was_half_done_is_gone_on_with(swept: Swept) -> None:
    """Trained, but not measured, when it was killed."""
    half = run_of(swept, ROWS[3], 0) / "results.json"
    assert half.stat().st_mtime_ns > swept.written_before[half]
    assert "Resuming from" in (half.parent / "train.log").read_text()


def test_a_half_finished_sweep_says_what_is_missing(swept: Swept) -> None:
    before = swept.page_before
    assert "4 runs have begun, 8 have not" in before
    assert before.count(f"not begun: <code>{command_for('train.py')} ") == 8
    assert "seed 0 unfinished" in before


def test_the_table_has_the_papers_layout(swept: Swept) -> None:
    table = (swept.folder / "table2.md").read_text().splitlines()
    objectives = [line.split("|")[1].strip() for line in table[2:]]
    assert objectives == [
        *("**μ̃ prediction (baseline)**", "L, learned diagonal Σ", "L, fixed isotropic Σ", "‖μ̃ − μ̃_θ‖²"),
        *("**ε prediction (ours)**", "L, learned diagonal Σ", "L, fixed isotropic Σ", "‖ε̃ − ε_θ‖² (L_simple)"),
    ]
    assert [line.split("|")[3].strip() for line in table[2:]] == ["", "23.69", "13.22", "–", "", "–", "13.51", "3.17"]
    assert "seed 0 diverged at step 0; seed 1 diverged at step 0" in table[5]


def test_every_number_is_that_of_the_runs_files(swept: Swept) -> None:
    """Mean and standard error by hand from the twelve results.json."""
    names = {DISTANCE_HEAD: "fd_digits_70_train", "score ↑ score_digits_70": "score_digits_70"}
    names |= {"bits/dim ↓ test/bpd": "test/bpd_{}", "rate test/rate": "test/rate_{}"}
    names |= {"distortion test/distortion": "test/distortion_{}"}
    with (swept.folder / "table2.csv").open(newline="") as file:
        table = {f"{row['parameterization']}_{row['variance']}_{row['loss']}": row for row in csv.DictReader(file)}
    assert list(table) == ROWS
    for row in set(ROWS) - {DIVERGED}:
        for column, name in names.items():
            metric = name.format(table[row]["variance"])
            values = [results(run_of(swept, row, seed))["metrics"][metric]["value"] for seed in SEEDS]
            assert float(table[row][column]) == pytest.approx(sum(values) / 2, rel=1e-12)
            assert float(table[row][f"{column}: standard error"]) == pytest.approx(abs(values[0] - values[1]) / 2)
            assert table[row][f"{column}: seeds"] == "2"
    assert all(table[DIVERGED][column] == "" for column in names)


def test_the_best_of_a_column_is_bold(swept: Swept) -> None:
    lines = [line.split("|")[1:-1] for line in (swept.folder / "table2.md").read_text().splitlines()]
    place = next(i for i, head in enumerate(lines[0]) if "distance" in head)
    with (swept.folder / "table2.csv").open(newline="") as file:
        values = [float(row[DISTANCE_HEAD] or "inf") for row in csv.DictReader(file)]
    cells = [line[place].strip() for line in lines[2:] if line[place].strip()]
    assert [cell.startswith("**") for cell in cells] == [value == min(values) for value in values]


def test_the_page_needs_nothing_else(swept: Swept) -> None:
    page = (swept.folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5  # nothing was drawn before the first step, at which one diverged
    assert page.count("<svg") == len(FIGURES)
    assert not re.search(r"(src|href)=\"(?!data:)(?!#)", page)
    assert "<script" not in page
    assert "12 runs: 10 finished, 2 diverged" in page
    for run in swept.folder.glob("*/results.json"):
        assert f"hydra.run.dir={run.parent}" in page
        assert json.loads(run.read_text())["commit"] in page


def test_each_figure_is_a_picture_too(swept: Swept) -> None:
    for name in (*FIGURES, "samples"):
        with Image.open(swept.folder / f"{name}.png") as picture:
            assert picture.width == 1500


def test_the_tradeoff_has_the_tables_means_and_errors(swept: Swept) -> None:
    rows = [row for row in rows_of(read_sweep(swept.folder)) if row.cell(BITS).values]
    (axes,) = drawn(rows)["tradeoff"].axes
    assert len(axes.containers) == len(rows) == len(ROWS) - 1
    for row, container in zip(rows, axes.containers, strict=True):
        (place,) = container.lines[0].get_xydata()
        assert place.tolist() == [row.cell(BITS).mean, row.cell(DISTANCE).mean]
        (across,), (up,) = (bar.get_segments() for bar in container.lines[2])
        assert across[1, 0] - across[0, 0] == pytest.approx(2 * row.cell(BITS).error)
        assert up[1, 1] - up[0, 1] == pytest.approx(2 * row.cell(DISTANCE).error)


def test_a_number_that_no_axis_has_costs_its_point_alone(copy: Path) -> None:
    for place, row in enumerate(sorted(copy.glob(f"{ROWS[4]}_seed*"))):
        path = row / "results.json"
        outcome = json.loads(path.read_text())
        outcome["metrics"]["fd_digits_70_train"]["value"] = (-1.0, math.nan)[place]
        path.write_text(json.dumps(outcome))
    (axes,) = drawn(write_report(copy))["tradeoff"].axes
    assert len(axes.containers) == len(ROWS) - 2


def test_there_is_nothing_to_draw_of_runs_without_numbers(copy: Path) -> None:
    for path in [*copy.glob("*/metrics.csv"), *copy.glob("*/results.json"), *copy.glob("*/samples/*.png")]:
        path.unlink()
    rows = write_report(copy)
    assert not drawn(rows)
    assert samples(rows) is None


def test_the_command_reports_a_sweep_and_tells_wandb(swept: Swept, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(swept.folder, folder)
    (folder / "report.html").unlink()
    command("report", f"sweep={folder}")
    assert "ε prediction (ours)" in (folder / "report.html").read_text()
    (written,) = read_logged(folder)
    assert written.run["run_group"] == "copy"
    assert written.run["display_name"] == "report"
    assert written.artifacts["report"] == ["report.html", "table2.csv", "table2.md"]
    ((_, table),) = written.values(TABLE)
    assert table["nrows"] == len(ROWS)
    assert "columns" in (written.folder / "files" / table["path"]).read_text()
    assert written.values("report")


def test_errors_over_seeds_are_standard_errors() -> None:
    cell = Cell((1.0, 2.0, 6.0), frozenset({"fid"}))
    assert cell.mean == 3
    assert cell.error == pytest.approx(statistics.stdev([1, 2, 6]) / 3**0.5)
    assert Cell((1.0,), frozenset()).error is None
    assert str(Cell((), frozenset())) == "–"
    assert with_error(2.91371, 0.0123) == "2.914 ± 0.012"
    assert with_error(23.4, 3.2) == "23.4 ± 3.2"
    assert with_error(1.234e-7, 3.21e-9) == "1.2e-07 ± 3e-09"
    assert with_error(5.0, 1e-8) == "5.0000 ± 0.0000"
    assert [column.title for column in COLUMNS] == ["score", "Fréchet distance", "bits/dim", "rate", "distortion"]


def test_what_is_no_sweep_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no sweep given" in error_of(capsys, "report")
    assert "holds no run of a sweep" in error_of(capsys, "report", f"sweep={tmp_path}/none", "logger=none")


def test_a_row_says_of_runs_left_out_only_what_holds_of_all() -> None:
    """Their files may be damaged, or of two runs."""
    state = Row(("epsilon", "beta", "simple"), "", "", (), (), ("seed 0", "seed 1"), None).state
    assert state == "0 of 2 finished; seed 0, seed 1 left out, because files are damaged or disagree"


def test_a_damaged_run_is_left_out_and_named(swept: Swept, copy: Path) -> None:
    (copy / f"{ROWS[0]}_seed0" / "results.json").write_text("{")
    (copy / f"{ROWS[1]}_seed0" / ".hydra" / "hydra.yaml").write_text("")
    write_report(copy)
    page = (copy / "report.html").read_text()
    assert "12 runs: 8 finished, 2 diverged, 2 left out" in page
    assert "not begun" not in page
    assert page.count("; seed 0 left out, because files are damaged or disagree") == 2
    assert f"{ROWS[0]}_seed0/results.json is damaged" in page
    assert f"{ROWS[1]}_seed0" in page


def test_numbers_of_another_run_than_the_configuration_are_left_out(copy: Path) -> None:
    """As two commands leave them that wrote into one folder."""
    first, second = (copy / f"{ROWS[5]}_seed{seed}" for seed in SEEDS)
    shutil.copytree(second / ".hydra", first / ".hydra", dirs_exist_ok=True)
    third = copy / f"{ROWS[4]}_seed0"
    (third / "results.json").unlink()  # only the checkpoint is left to tell
    shutil.copytree(copy / f"{ROWS[1]}_seed0" / ".hydra", third / ".hydra", dirs_exist_ok=True)
    assert any("results.json seed=0" in each and "says seed=1" in each for each in read_sweep(copy).damaged)
    assert any("the checkpoint parameterization=" in each for each in read_sweep(copy).damaged)
    assert not {first, third} & {run.folder for run in read_sweep(copy).runs}
    assert len(read_sweep(copy).damaged) == 2


def test_a_path_that_was_typed_relative_is_no_other_run(copy: Path) -> None:
    """.hydra has it as it was typed, and the checkpoint as an absolute path."""
    run = copy / f"{ROWS[4]}_seed0"
    config, last = run / ".hydra" / "config.yaml", run / "checkpoints" / "last.ckpt"
    config.write_text(config.read_text().replace("init_from: null", "init_from: other/last.ckpt"))
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["config"]["init_from"] = "/somewhere/other/last.ckpt"
    torch.save(checkpoint, last)
    assert not read_sweep(copy).damaged


def test_a_run_that_is_to_go_further_is_not_finished(copy: Path) -> None:
    """Its folder holds the new configuration and the old numbers, until it has."""
    config = copy / f"{ROWS[4]}_seed0" / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("max_steps: 2", "max_steps: 4"))
    write_report(copy)
    row = next(line for line in (copy / "table2.md").read_text().splitlines() if "13.51" in line)
    assert "1 of 2 finished" in row
    assert "seed 0 unfinished" in row


def test_a_run_that_has_begun_and_has_no_results_is_unfinished(copy: Path) -> None:
    (copy / f"{ROWS[4]}_seed0" / "results.json").unlink()
    write_report(copy)
    assert "seed 0 unfinished" in (copy / "table2.md").read_text()
    assert "seed 0: unfinished<br>" in (copy / "report.html").read_text()


def test_what_is_shown_is_what_was_measured_after_training(copy: Path) -> None:
    """Not the callback's number of fewer images, whatever it is called."""
    path = copy / f"{ROWS[4]}_seed0" / "results.json"
    outcome = json.loads(path.read_text())
    outcome["metrics"] = {"fd_1_train": {"value": -1.0, "step": 2}, **outcome["metrics"]}
    path.write_text(json.dumps(outcome))
    assert read_run(path.parent).measured(DISTANCE.pattern) == (
        "fd_digits_70_train",
        outcome["metrics"]["fd_digits_70_train"]["value"],
    )


@pytest.mark.slow
def test_metrics_already_measured_are_kept(copy: Path) -> None:
    """A run killed between two metrics resumes with the second; a run asked for another metric measures only that."""
    folder = copy.parent / "again"
    shutil.copytree(copy / f"{ROWS[4]}_seed0", folder)
    path = folder / "results.json"
    outcome = json.loads(path.read_text())
    before = outcome["metrics"]["test/bpd_beta"]
    del outcome["evaluated"]["fd_digits"]
    path.write_text(json.dumps(outcome))
    alone = [option for option in options(copy) if "sweep" not in option]
    again = [*alone, f"row={ROWS[4]}", "seed=0", "hydra.mode=RUN", f"hydra.run.dir={folder}"]
    with patch.object(ExactBound, "measure", side_effect=AssertionError("measured again")):
        command("train", *again)
    after = results(folder)
    assert set(after["evaluated"]) == {"bpd", "fd_digits", "score_digits"}
    assert after["metrics"]["test/bpd_beta"] == before


def test_commands_name_folders_from_where_they_are_given(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    write_report(copy)
    page = (copy / "report.html").read_text()
    assert f"hydra.run.dir={copy.name}/{ROWS[0]}_seed0" in page
    assert str(copy) not in page


@pytest.mark.parametrize(("typed", "told"), [("/home/me/ddpm/multirun/x", "multirun/x"), ("/mnt/x", "/mnt/x")])
def test_a_sweeps_folder_is_noted_from_where_the_command_was_given(tmp_path: Path, typed: str, told: str) -> None:
    asked = {"task": ["seed=0,1"], "hydra": [f"hydra.sweep.dir={typed}", "hydra.mode=MULTIRUN"]}
    add_to_plan(tmp_path, {"overrides": asked, "sweep": {"dir": typed}, "runtime": {"cwd": "/home/me/ddpm"}})
    commands, jobs = read_plan(tmp_path)
    assert commands == (f"{command_for('train.py')} -m seed=0,1 hydra.sweep.dir={told}",)
    assert jobs == (("seed=0",), ("seed=1",))


def test_a_refused_command_is_not_planned(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: (copy / name).read_bytes() for name in ("plan.json", "multirun.yaml")}
    refused = options(copy, "seed=0", "row=epsilon_beta_simple", "optimizer.lr=0.5")
    assert "another optimizer.lr" in error_of(capsys, "train", *refused)
    assert {name: (copy / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_a_glob_is_planned_for(tmp_path: Path) -> None:
    with patch.object(Simple, "__call__", side_effect=UserError("no training here")), pytest.raises(SystemExit):
        command("train", *options(tmp_path, "seed=0", "row=glob(epsilon_beta*)"))
    sweep = read_sweep(tmp_path)
    assert sweep.planned is not None
    assert len(sweep.planned) == 4  # β and β̃, both losses
    assert len(sweep.runs) + len(sweep.missing) == 4


def test_a_bound_above_that_of_a_guess_is_out_of_range() -> None:
    record = {"unit": "bits/dim", "levels": 256}
    assert "warning" not in with_warnings({"bpd": {**record, "value": 7.99}})["bpd"]
    assert "out of range" in with_warnings({"bpd": {**record, "value": 8.01}})["bpd"]["warning"]
    assert "not finite" in with_warnings({"bpd": {**record, "value": math.inf}})["bpd"]["warning"]
    assert "warning" not in with_warnings({"rate": {**record, "value": 9.0, "term": "L_T"}})["rate"]


def test_names_of_runs_cannot_break_the_page(copy: Path) -> None:
    path = copy / f"{ROWS[2]}_seed0" / "results.json"
    outcome = json.loads(path.read_text())
    outcome["diverged"]["reason"] = "<script>alert(1)</script>"
    path.write_text(json.dumps(outcome))
    write_report(copy)
    assert "<script" not in (copy / "report.html").read_text()


@pytest.mark.slow
def test_images_that_are_no_numbers_are_a_divergence_on_every_process(tmp_path: Path) -> None:
    """Also where another process than the first finds them: the first one records it, and the sweep goes on."""
    spoiled = "tests.studies.report.spoiled.SpoiltSecondHalf"
    folder = options(tmp_path, "seed=0", "row=epsilon_beta_simple", "trainer=ddp_cpu")
    command("train", *folder, f"sampler._target_={spoiled}", "evaluation.batch_size=20")  # so that both make some
    outcome = results(tmp_path / "epsilon_beta_simple_seed0")
    assert "NaN or infinite" in outcome["diverged"]["reason"]


def test_the_folder_of_a_sweep_is_that_of_its_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = [option for option in options(tmp_path, "seed=0", "row=epsilon_beta_simple") if "sweep.dir" not in option]
    command("train", *where, "metrics=[]")
    assert (tmp_path / "multirun" / "table2_digits" / "report.html").is_file()


@pytest.fixture
def copy(swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sweep, to be spoilt. Its report is written without figures, which take longest."""
    monkeypatch.setattr("ddpm_lightning.studies.report.write.drawn", lambda rows: {})
    monkeypatch.setattr("ddpm_lightning.studies.report.write.samples", lambda rows: None)
    folder = tmp_path / "copy"
    shutil.copytree(swept.folder, folder)
    return folder
