"""`ddpm runs DIR`: the table equals what the files say, it is filtered and sorted, and it is quick."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ddpm_lightning.cli.positional import as_options
from ddpm_lightning.runtime.run_files.hydra_yaml import parsed, read_choices
from ddpm_lightning.studies.runs.run_table import read_table
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.commands import command, error_of, results, train
from tests.studies.runs.folders import copied

BITS = "test/bpd_beta_estimate"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained") / "run", "loss=elbo")


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """Four runs: one with a metric of its own, one interrupted, one diverged, and run 10."""
    folder = tmp_path / "runs"
    copied(trained, folder / "2", {BITS: 3.0}, seed=2)
    copied(trained, folder / "10", {BITS: 2.0, "fid_50k_train": 4.5}, seed=10, lr=0.5)
    (copied(trained, folder / "deep" / "er" / "3", seed=3) / "results.json").unlink()
    diverged = copied(trained, folder / "4", seed=4) / "results.json"
    diverged.write_text(json.dumps({"metrics": {}, "diverged": {"step": 1, "reason": "NaN"}}))
    return folder


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[list[str]]:
    """The words of each line that `runs.py` prints, without the last, which counts the runs."""
    command("runs", *options)
    *lines, count = capsys.readouterr().out.splitlines()
    assert count.startswith(f"{len(lines) - 1} run")
    return [line.split() for line in lines]


def test_the_table_has_the_numbers_of_the_files(trained: Path, tmp_path: Path) -> None:
    command("runs", str(trained.parent), f"csv={tmp_path / 'made' / 'runs.csv'}")
    with (tmp_path / "made" / "runs.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    logged = read_rows(trained / "metrics.csv")
    for name, record in results(trained)["metrics"].items():
        assert float(row[name]) == record["value"]
    assert float(row["train/loss"]) == [float(each["train/loss"]) for each in logged if each["train/loss"]][-1]
    spent = [float(value) for each in logged for name, value in each.items() if name.startswith("time/") and value]
    assert float(row["seconds"]) == pytest.approx(sum(spent))
    assert (row["run"], row["state"], row["trainer/global_step"]) == (str(trained), "finished", "4")
    assert (row["loss"], row["schedule"], row["network.channels"], row["seed"]) == ("elbo", "linear", "8", "0")


def test_it_shows_what_differs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = listed(capsys, str(folder))
    assert head[:6] == ["run", "state", "trainer/global_step", "seconds", "seed", "optimizer.lr"]
    assert "loss" not in head
    assert [Path(row[0]).name for row in rows] == ["2", "4", "10", "3"]  # by number, and by folder
    assert [row[1] for row in rows] == ["finished", "diverged", "finished", "unfinished"]
    assert [row[2] for row in rows] == ["4", "1", "4", "4"]


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        (["where=state=finished"], ["2", "10"]),
        ([f"where={BITS}<2.5"], ["10"]),
        (["where=fid_*>=4.5 and seed!=2"], ["10"]),
        (["where=fid_50k_train=null"], ["2", "4", "3"]),
        (["where=state=*finished", f"sort=-{BITS}"], ["3", "2", "10"]),
        ([f"sort={BITS}"], ["10", "2", "4", "3"]),
        (["sort=-seed"], ["10", "4", "3", "2"]),
        (["where=optimizer.lr=0.5 and callbacks.ema.decay>0.9"], ["10"]),
        (["where=loss=simple"], []),
    ],
)
def test_it_filters_and_sorts(
    options: list[str], runs: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = listed(capsys, str(folder), *options, "columns=[run,callbacks.ema.decay,fid*]")
    assert head == ["run", "callbacks.ema.decay", "fid_50k_train"]
    assert [Path(row[0]).name for row in rows] == runs


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("where=abc", "where=abc is no condition; write it like 'loss=simple and test/bpd_beta<3.2'"),
        ("where=loss<elbo", "compares with elbo, which is no number"),
        ("where=los=elbo", "asks for los, which no run has; did you mean loss"),
        ("where=5", "where=5 is no text"),
        ("sort=fid", "did you mean fid_50k_train?"),
        ("sort=t*", "name one of them"),
        ("columns=run", "write it like columns=[run,state,fd_*]"),
        ("csv=/proc/runs.csv", "/proc/runs.csv cannot be written"),
        ("dir=/none", "dir=/none is no folder"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    option: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if option.startswith("dir") else [str(folder)]
    assert words in error_of(capsys, "runs", *where, option)


def test_folders_without_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no outputs or multirun here" in error_of(capsys, "runs")
    Path("outputs").mkdir()
    assert "outputs holds no run of train.py" in error_of(capsys, "runs")
    assert not list(Path("outputs").iterdir())


def test_a_damaged_run_is_left_out_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "2" / "results.json").write_text("{")
    (folder / "4" / ".hydra" / "hydra.yaml").write_text("")
    command("runs", str(folder))
    said = capsys.readouterr().out
    assert "2 runs" in said
    assert f"Left out: {folder}/2: " in said
    assert f"Left out: {folder}/4: " in said


def test_parquet_has_the_same_table_or_says_what_it_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "runs.parquet"
    try:
        from pyarrow import parquet
    except ImportError:
        assert "needs pyarrow, which is not installed" in error_of(capsys, "runs", str(folder), f"parquet={path}")
        assert not path.exists()
        return
    command("runs", str(folder), f"parquet={path}")
    columns = parquet.read_table(path).to_pydict()
    assert columns["seed"] == [2, 4, 10, 3]
    assert columns["fid_50k_train"] == [None, None, 4.5, None]
    assert columns["state"] == ["finished", "diverged", "finished", "unfinished"]
    assert list(columns) == list(read_table([folder]).columns)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["a", "b c", "sort=x"], ["dir=[a,b c]", "sort=x"]),
        (["a,b"], ['dir=["a,b"]']),
        ([], []),
        (["--help"], ["--help"]),
        (["where=a<5"], ['where="a<5"']),
        (["where=a=5"], ['where="a=5"']),
        (['where="a<5"'], ['where="a<5"']),
    ],
)
def test_words_stand_for_options(words: list[str], options: list[str]) -> None:
    assert as_options("runs", words) == options
    assert as_options("train", ["a"]) == ["a"]


def test_a_folder_may_be_named_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loss=elbo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert as_options("runs", ["loss=elbo"]) == ['dir=["loss=elbo"]']


SCALARS = """
a: [1e-4, 1.5e3, .5, -2., 1_000, 0x10, 010, 1:30, .inf, -.nan, ~, null, yes, 'no', 2024-01-02, 1e5x, '1e5']
b:
- x: "two\\nlines"
  y: >
    folded
    text
- -1
c: ${seed}
d: ???
"""


def test_files_of_hydra_are_read_as_omegaconf_reads_them(trained: Path) -> None:
    for text in ["", "# nothing", SCALARS, *(path.read_text() for path in (trained / ".hydra").glob("*.yaml"))]:
        assert repr(parsed(text)) == repr(OmegaConf.to_container(OmegaConf.create(text), resolve=False))
    hydra: Any = OmegaConf.load(trained / ".hydra" / "hydra.yaml")
    assert read_choices(trained / ".hydra" / "hydra.yaml") == OmegaConf.to_container(hydra.hydra.runtime.choices)


@pytest.mark.slow
def test_a_thousand_runs_are_read_in_less_than_a_second(trained: Path, tmp_path: Path) -> None:
    """Of this process' time, because the machine may do other things. PyTorch is not imported for it."""
    for number in range(1000):
        copied(trained, tmp_path / str(number), seed=number, lr=number % 20 / 1e4)
    began = time.process_time()
    table = read_table([tmp_path])
    assert time.process_time() - began < 1
    assert len(table.rows) == 1000
    assert [row["seed"] for row in table.rows] == list(range(1000))


def test_listing_runs_does_not_wait_for_pytorch() -> None:
    looks = "import sys, ddpm_lightning.cli.runs; assert not {'torch', 'lightning', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", looks], check=True)
