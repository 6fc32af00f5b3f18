"""Checkpoints beside the last one: at regular steps, and the best by a logged number."""

import shutil
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from ddpm_lightning.training.checkpoint import PREVIOUS, read_checkpoint
from ddpm_lightning.training.loggers.all_loggers import log_metrics
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.cli.test_train import STATE, same
from tests.commands import SMALL, command, error_of, results
from tests.runtime.test_stopped import at

OPTIONS = [
    *(*SMALL, "network.dropout=0.1", "trainer.max_steps=5", "callbacks.bound.every_n_steps=1", "callbacks.strip=null"),
    *("callbacks.checkpoint.every_n_steps=3", "callbacks.grid=null"),
]

KEPT = ["callbacks.checkpoint.keep_every=2", "callbacks.checkpoint.best=val/bpd_beta"]


def run(folder: Path, *more: str) -> Path:
    command("train", f"hydra.run.dir={folder}", *OPTIONS, *more)
    return folder


def kept(folder: Path) -> dict[str, int]:
    """The step of each checkpoint of a run."""
    return {path.name: read_checkpoint(path)["global_step"] for path in (folder / "checkpoints").iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("whole"), *KEPT)


def lowest(folder: Path, name: str) -> dict[str, Any]:
    """By its metrics.csv."""
    values = {int(row["step"]): float(row[name]) for row in read_rows(folder / "metrics.csv") if row[name]}
    step = min(values, key=lambda step: values[step])
    return {"metric": name, "value": values[step], "step": step, "checkpoint": "best.ckpt"}


def test_the_best_and_every_second_one_are_kept(whole: Path) -> None:
    best = lowest(whole, "val/bpd_beta")
    every = {"step_0000002.ckpt": 2, "step_0000004.ckpt": 4}
    assert kept(whole) == {"last.ckpt": 5, PREVIOUS: 3, "best.ckpt": best["step"], **every}
    assert results(whole)["best"] == best
    of_best = read_checkpoint(whole / "checkpoints" / "best.ckpt")
    assert of_best["callbacks"]["LastCheckpoint"]["record"] == best


def test_what_is_kept_does_not_disturb_training(whole: Path, tmp_path: Path) -> None:
    run(tmp_path)
    for key in STATE:
        same(*(read_checkpoint(folder / "checkpoints" / "last.ckpt")[key] for folder in (whole, tmp_path)), key)
    assert "best" not in results(tmp_path)
    assert set(kept(tmp_path)) == {"last.ckpt", PREVIOUS}


def test_a_run_resumes_exactly_from_a_checkpoint_that_was_kept(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(whole / "checkpoints" / "step_0000002.ckpt", tmp_path / "checkpoints" / "last.ckpt")
    run(tmp_path, *KEPT)
    for key in STATE:
        same(*(read_checkpoint(folder / "checkpoints" / "last.ckpt")[key] for folder in (whole, tmp_path)), key)
    assert results(tmp_path)["best"] == results(whole)["best"]


class Falls(L.Callback):
    """Logs a number when training has ended that is the lower the more steps were made."""

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        log_metrics(trainer, {"falling": -trainer.global_step})


@pytest.mark.slow
def test_what_is_measured_after_training_can_be_the_best(whole: Path, tmp_path: Path) -> None:
    falls = [f"+callbacks.falls._target_={__name__}.Falls", "callbacks.checkpoint.best=falling"]
    for steps in (4, 5):
        run(tmp_path, *falls, f"trainer.max_steps={steps}")
        assert kept(tmp_path)["best.ckpt"] == results(tmp_path)["best"]["step"] == steps
    for key in STATE:
        same(*(read_checkpoint(folder / "checkpoints" / "last.ckpt")[key] for folder in (whole, tmp_path)), key)


def test_a_best_step_whose_run_is_stopped_before_it_is_saved_is_saved_later(tmp_path: Path) -> None:
    """Stopped while it draws, by when the learning rate was logged, which is the lowest at the first step."""
    options = ["callbacks.checkpoint.best=train/lr", "trainer.max_steps=2", "callbacks.checkpoint.every_n_steps=50"]
    options = [*SMALL, *options, "callbacks.grid.every_n_steps=1", "callbacks.strip=null"]
    with pytest.raises(SystemExit):
        command("train", f"hydra.run.dir={tmp_path}", *options, *at("drawing", 1, signal.SIGTERM))
    assert kept(tmp_path) == {"last.ckpt": 1}
    command("train", f"hydra.run.dir={tmp_path}", *options)
    assert kept(tmp_path) == {"last.ckpt": 2, PREVIOUS: 1, "best.ckpt": 1}
    assert results(tmp_path)["best"] == lowest(tmp_path, "train/lr")


UNKNOWN = [
    ("callbacks.checkpoint.best watches val/bpd,", "callbacks.checkpoint.best=val/bpd"),
    (
        "ModelCheckpoint watches val/bpd,",
        "+callbacks.keep={_target_:lightning.pytorch.callbacks.ModelCheckpoint,monitor:val/bpd}",
    ),
]


@pytest.mark.parametrize(("words", "option"), UNKNOWN)
def test_a_metric_that_nothing_logs_is_told_before_training(
    words: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *OPTIONS, option)
    assert f"{words} which this run does not log; did you mean val/bpd_beta?" in said
    assert not (tmp_path / "checkpoints").exists()


def test_a_metric_that_a_callback_of_ones_own_may_log_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    falls = f"+callbacks.falls._target_={__name__}.Falls"
    run(tmp_path, falls, "callbacks.checkpoint.best=val/bpd", "trainer.max_steps=1")
    said = capsys.readouterr().out
    assert "callbacks.checkpoint.best=val/bpd has not been logged so far" in said
    assert "val/bpd_beta" in said
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize("value", ["0", "often", "true"])
def test_an_interval_that_is_none_is_told(tmp_path: Path, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, f"callbacks.checkpoint.keep_every={value}")
    assert "keep_every" in said
