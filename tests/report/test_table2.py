"""Table 2, whole: six rows, one of which diverges, killed and begun again; and what the report makes of them."""

import csv
import json
import re
import shutil
import statistics
from pathlib import Path
from typing import NamedTuple

import pytest

from ddpm_lightning.report.report import write_report
from ddpm_lightning.report.rows import COLUMNS, Cell, with_error
from tests.report.small_sweep import ROWS, killed_in, mu_with_simple_diverging, options
from tests.training.commands import command, error_of, results

SEEDS = (0, 1)
DIVERGED = "mu_beta_simple"


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
        assert "1 steps in a row had a loss or gradient that is no number" in diverged["reason"]
    for row in set(ROWS) - {DIVERGED}:
        assert results(run_of(swept, row, 0))["evaluated"] == ["bpd", "fd_digits", "score_digits"]


def test_what_was_finished_is_not_done_again(swept: Swept) -> None:
    finished = [run_of(swept, row, 0) / "results.json" for row in ROWS[:3]]
    assert set(finished) <= set(swept.written_before)
    for path in finished:
        assert path.stat().st_mtime_ns == swept.written_before[path]


def test_what_was_half_done_is_gone_on_with(swept: Swept) -> None:
    """Trained, but not measured, when it was killed."""
    half = run_of(swept, ROWS[3], 0) / "results.json"
    assert half.stat().st_mtime_ns > swept.written_before[half]
    assert "Going on from" in (half.parent / "train.log").read_text()


def test_a_half_finished_sweep_says_what_is_missing(swept: Swept) -> None:
    before = swept.page_before
    assert "4 runs, 8 not begun" in before
    assert before.count("not begun: <code>") == 8
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
    names = {"FID ↓ fd_digits_70_train": "fd_digits_70_train", "IS ↑ score_digits_70": "score_digits_70"}
    names |= {"bits/dim ↓": "test/bpd_{}", "rate": "test/rate_{}", "distortion": "test/distortion_{}"}
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
    place = next(i for i, head in enumerate(lines[0]) if "FID ↓" in head)
    with (swept.folder / "table2.csv").open(newline="") as file:
        values = [float(row["FID ↓ fd_digits_70_train"] or "inf") for row in csv.DictReader(file)]
    cells = [line[place].strip() for line in lines[2:] if line[place].strip()]
    assert [cell.startswith("**") for cell in cells] == [value == min(values) for value in values]


def test_the_page_needs_nothing_else(swept: Swept) -> None:
    page = (swept.folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5  # nothing was drawn before the first step, at which one diverged
    assert page.count("<svg") == 2
    assert not re.search(r"(src|href)=\"(?!data:)(?!#)", page)
    assert "<script" not in page
    for run in swept.folder.glob("*/results.json"):
        assert f"hydra.run.dir={run.parent}" in page
        assert json.loads(run.read_text())["commit"] in page


def test_all_rows_are_drawn_from_the_same_noise(swept: Swept) -> None:
    """Hydra's own record of the seed of every grid: that of the run."""
    for row in ROWS:
        config = (run_of(swept, row, 1) / ".hydra" / "config.yaml").read_text()
        assert re.search(r"SampleGrid\n(    .*\n)*    seed: \$\{seed\}", config)


def test_the_command_reports_a_sweep_and_tells_wandb(swept: Swept, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(swept.folder, folder)
    (folder / "report.html").unlink()
    command("report", f"sweep={folder}")
    assert "ε prediction (ours)" in (folder / "report.html").read_text()
    written = b"".join(path.read_bytes() for path in folder.glob("wandb/offline-run-*/*.wandb"))
    assert b"table2" in written


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
    assert [column.title for column in COLUMNS] == ["IS", "FID", "bits/dim", "rate", "distortion"]


def test_what_is_no_sweep_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no sweep given" in error_of(capsys, "report")
    assert "holds no run of a sweep" in error_of(capsys, "report", f"sweep={tmp_path}/none", "logger=none")


def test_a_damaged_file_is_named(swept: Swept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(swept.folder, folder)
    (folder / f"{ROWS[0]}_seed0" / "results.json").write_text("{")
    said = error_of(capsys, "report", f"sweep={folder}", "logger=none")
    assert f"{ROWS[0]}_seed0" in said
    assert "damaged" in said
