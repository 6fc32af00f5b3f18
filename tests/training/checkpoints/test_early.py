"""A run that ends early ends in a checkpoint. One that a callback ended is finished; another resumes."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import Checkpoint

from ddpm_lightning.studies.runs.trained_run import read_run
from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from ddpm_lightning.training.monitors import check_monitors, names_in_training
from tests.cli.test_train import STATE, same
from tests.commands import SMALL, command, error_of, results, train
from tests.runtime.test_stopped import logged

OPTIONS = [
    *(*SMALL, "network.dropout=0.1", "trainer.max_steps=5", "trainer.accumulate_grad_batches=2"),
    *("callbacks.metrics.every_n_steps=2", "callbacks.bound.every_n_steps=1", "callbacks.checkpoint.every_n_steps=50"),
    *("callbacks.ema.decay=0.9", "callbacks.grid=null", "callbacks.strip=null"),
]

BOUND = "test/bpd_beta_estimate"
SLOW = pytest.mark.slow


class StopsAt(L.Callback):
    """Asks the trainer to stop, in this hook, in the batches of this step (counted from 0), for the first time."""

    def __init__(self, hook: str, step: int) -> None:
        self.step = step
        setattr(self, hook, self._stop)

    def _stop(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self.step:
            trainer.should_stop = True


class StopsLast(StopsAt, Checkpoint):
    """The same after the last checkpoint was saved, for Lightning runs a Checkpoint last."""


def early(folder: Path, *options: str) -> Path:
    command("train", f"hydra.run.dir={folder}", *OPTIONS, *options)
    return folder


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that never stopped."""
    return early(tmp_path_factory.mktemp("whole"))


STOPS = [
    pytest.param("StopsAt", "on_after_backward", 4, id="in the middle of a step, which is finished"),
    pytest.param("StopsAt", "on_train_batch_end", 3, id="after a step", marks=SLOW),
    pytest.param("StopsLast", "on_train_batch_end", 3, id="after the checkpoint's turn", marks=SLOW),
]


@pytest.mark.parametrize(("name", "hook", "at"), STOPS)
def test_a_run_that_a_callback_ends_early_resumes_exactly(
    whole: Path, tmp_path: Path, name: str, hook: str, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = "+callbacks.stop"
    early(tmp_path, f"{stop}._target_={__name__}.{name}", f"{stop}.hook={hook}", f"{stop}.step=3")
    said = capsys.readouterr().out
    assert f"A callback ended the training at step {at} of 5, so the run is finished" in said
    for told in re.findall(r"\S+\.ckpt", said):
        assert read_checkpoint(Path(told.partition("checkpoint=")[2] or told))["global_step"] == at
    assert results(tmp_path)["metrics"][BOUND]["step"] == at
    early(tmp_path)
    for key in STATE:
        same(last(whole)[key], last(tmp_path)[key], key)
    assert results(whole)["metrics"] == results(tmp_path)["metrics"]
    if name == "StopsAt":
        assert logged(whole).items() <= logged(tmp_path).items()


def test_a_limit_of_time_is_one_of_each_command(tmp_path: Path) -> None:
    """The limit is over before the first step ends, and each command makes one."""
    for step in (1, 2):
        early(tmp_path, "+trainer.max_time={milliseconds:1}", "callbacks.bound=null")
        assert last(tmp_path)["global_step"] == results(tmp_path)["metrics"][BOUND]["step"] == step
        assert results(tmp_path)["training"] == {"finished": False, "step": step, "max_steps": 5}
        assert (read_run(tmp_path).state, read_run(tmp_path).progress) == ("unfinished", f" at step {step} of 5")


STOPPING = [
    "+callbacks.stopping._target_=lightning.pytorch.callbacks.EarlyStopping",
    *("+callbacks.stopping.monitor=val/bpd_beta", "+callbacks.stopping.min_delta=1000"),
    "+callbacks.stopping.patience=2",
]
"""Ends the run at its third measurement: the first and two more."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that EarlyStopping ended at step 3 of 5."""
    return early(tmp_path_factory.mktemp("ended"), *STOPPING)


def steps_of(run: Path) -> tuple[int, int]:
    """The steps of the checkpoint and of the measured bound."""
    return last(run)["global_step"], results(run)["metrics"][BOUND]["step"]


def test_early_stopping_looks_at_each_measurement(ended: Path) -> None:
    assert steps_of(ended) == (3, 3)


def test_a_run_that_early_stopping_ended_is_finished(ended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (ended / "results.json").read_bytes()
    early(ended, *STOPPING)
    assert "This run is finished" in capsys.readouterr().out
    assert (ended / "results.json").read_bytes() == before
    assert results(ended)["ended_early"] == {"step": 3, "max_steps": 5}
    assert results(ended)["training"] == {"finished": True, "step": 3, "max_steps": 5}
    assert read_run(ended).state == "finished"


@pytest.mark.slow
def test_a_run_that_was_killed_after_its_early_end_is_measured_but_trains_no_further(
    ended: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(ended, tmp_path / "run")
    whole = results(run)
    (run / "results.json").unlink()
    early(run, *STOPPING)
    assert steps_of(run) == (3, 3)
    assert results(run)["metrics"] == whole["metrics"]
    assert results(run)["ended_early"] == whole["ended_early"]


@pytest.mark.slow
def test_a_run_that_ended_early_is_measured_further_without_more_training(ended: Path, tmp_path: Path) -> None:
    run = shutil.copytree(ended, tmp_path / "run")
    for _ in range(2):
        early(run, *STOPPING, "metrics=[bpd_estimate]")
        assert steps_of(run) == (3, 3)
        assert set(results(run)["evaluated"]) == {"bpd_estimate"}


FURTHER = [
    pytest.param([*STOPPING, "trainer.max_steps=6"], 4, id="a larger max_steps, up to the next look"),
    pytest.param(
        [*STOPPING[:-1], "+callbacks.stopping.patience=1"],
        4,
        id="another option of the callback",
        marks=pytest.mark.slow,
    ),
    pytest.param([], 5, id="without the callback", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("options", "steps"), FURTHER)
def test_a_run_that_ended_early_trains_further_with_other_options(
    ended: Path, tmp_path: Path, options: list[str], steps: int
) -> None:
    run = shutil.copytree(ended, tmp_path / "run")
    early(run, *options)
    assert steps_of(run) == (steps, steps)
    assert ("ended_early" in results(run)) == (steps == 4)
    assert results(run)["training"]["finished"]


def test_a_run_that_trains_further_after_an_early_end_is_unfinished_until_then(
    ended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It fails at its first step, with the numbers of its early end still there."""
    run = shutil.copytree(ended, tmp_path / "run")
    spoil = ("+callbacks.spoil._target_=tests.moments.Spoil", "+callbacks.spoil.what=data")
    options = (*OPTIONS, *spoil, "+callbacks.spoil.steps=[3,4]", "module.max_skipped=0")
    error_of(capsys, "train", f"hydra.run.dir={run}", *options)
    outcome = results(run)
    assert outcome.pop("diverged")
    (run / "results.json").write_text(json.dumps(outcome), encoding="utf-8")
    assert read_run(run).state == "unfinished"


def test_a_number_that_nothing_logs_is_told_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop = "+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping"
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, stop, "+callbacks.stop.monitor=val/bpd_bta")
    assert "EarlyStopping watches val/bpd_bta, which this run does not log; did you mean val/bpd_beta?" in said
    assert not (tmp_path / "metrics.csv").exists()


def test_all_numbers_that_are_logged_can_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is logged for the first time when training has ended."""
    known: list[str] = []

    def listen(trainer: Any, module: Any) -> None:
        known.extend(names_in_training(trainer.callbacks, module))
        check_monitors(trainer, module)

    monkeypatch.setattr("ddpm_lightning.cli.train.check_monitors", listen)
    stop = "+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping"
    late = ("callbacks.metrics.every_n_steps=50", "callbacks.bound.raw=true")
    train(tmp_path, stop, "+callbacks.stop.monitor=train/loss", *late)
    written = {name for row in read_rows(tmp_path / "metrics.csv") for name, value in row.items() if value}
    of_training = {name for name in written if name.startswith(("train/", "val/", "time/")) and "after" not in name}
    assert of_training <= set(known)
    assert {"val/bpd_beta", "val/bpd_beta_raw"} <= set(known)


def test_a_limit_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, "+trainer.max_time=soon")
    assert "soon" in said
