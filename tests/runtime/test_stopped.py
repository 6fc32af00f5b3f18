"""Killed, interrupted, terminated: a resumed run equals an uninterrupted one, bit for bit."""

import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.checkpoint import PREVIOUS, AtomicCheckpointIO, read_checkpoint
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.cli.test_train import STATE, same
from tests.commands import SMALL, WITH_PLOTS, command, error_of, killed, results, train
from tests.conftest import ROOT
from tests.data.formats import write_folder
from tests.kills import killed_at_random
from tests.moments import MOMENTS
from tests.training.test_quality import NAME
from tests.training.test_quality import QUALITY as WITHOUT_PICTURES

QUALITY = [option for option in WITHOUT_PICTURES if option not in ("callbacks.grid=null", "callbacks.strip=null")]
"""With pictures."""

OPTIONS = [
    *(*WITH_PLOTS, *QUALITY, "network.dropout=0.1", "data.flip=true", "trainer.max_steps=7", "callbacks.ema.decay=0.9"),
    *("callbacks.metrics.every_n_steps=2", "callbacks.grid.every_n_steps=2", "callbacks.strip.every_n_steps=3"),
    *("callbacks.checkpoint.every_n_steps=3", "callbacks.quality.every_n_steps=3", "callbacks.bound.every_n_steps=2"),
    *("callbacks.loss_by_t.every_n_steps=4", "callbacks.loss_by_t.bins=4"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    command("train", f"hydra.run.dir={folder}", *OPTIONS)
    return folder


def start(folder: Path, *more: str, options: list[str] = OPTIONS) -> "subprocess.Popen[str]":
    call = [sys.executable, "train.py", f"hydra.run.dir={folder}", *options, *more]
    return subprocess.Popen(call, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def at(moment: str, step: int, signum: int = signal.SIGKILL) -> list[str]:
    target = "+callbacks.signal._target_=tests.moments.SignalAt"
    return [
        target,
        f"+callbacks.signal.moment={moment}",
        f"+callbacks.signal.step={step}",
        f"+callbacks.signal.signum={signum:d}",
    ]


def assert_same_run(one: Path, other: Path) -> None:
    checkpoints = [read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (one, other)]
    for key in STATE:
        same(checkpoints[0][key], checkpoints[1][key], key)
    assert logged(one) == logged(other)
    assert results(one)["metrics"] == results(other)["metrics"]
    pictures = [{path.name: path.read_bytes() for path in (run / "samples").iterdir()} for run in (one, other)]
    assert pictures[0] == pictures[1]


def logged(run: Path) -> dict[tuple[str, str], str]:
    """Every number of metrics.csv by step and name, but for speed, seconds and memory."""
    rows = read_rows(run / "metrics.csv")
    return {
        (row["step"], name): value
        for row in rows
        for name, value in row.items()
        if value and name not in ("step", "train/images_per_s", "train/memory_gib") and not name.startswith("time/")
    }


def kill_and_go_on(folder: Path, kills: list[list[str]], options: list[str] = OPTIONS) -> None:
    for kill in kills:
        run = start(folder, *kill, options=options)
        said, _ = run.communicate(timeout=200)
        assert run.returncode == -signal.SIGKILL, said
    run = start(folder, options=options)
    said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, said
    assert not list(folder.rglob("*.tmp"))


def test_three_kills_leave_no_trace(whole: Path, tmp_path: Path) -> None:
    """In the middle of a step, of a save and of the quality's images."""
    for kill in (at("backward", 2), at("saving", 3), at("quality", 6)):
        killed(tmp_path, *OPTIONS, *kill)
    command("train", f"hydra.run.dir={tmp_path}", *OPTIONS)
    assert not list(tmp_path.rglob("*.tmp"))
    assert_same_run(whole, tmp_path)


@pytest.mark.slow
def test_a_kill_leaves_no_trace_in_a_run_on_shards(tmp_path: Path) -> None:
    """Read ahead by two processes before the kill, by one after it, and by none in the run that never stopped."""
    write_folder(tmp_path / "images", 40)
    shape, shards = ["data.side=4", "data.channels=1"], tmp_path / "shards"
    command("prepare", f"data.root={tmp_path}/images", *shape, f"into={shards}", "images_per_shard=9", "workers=0")
    of_shards = ["data=shards", f"data.root={shards}", *shape, "data.batch_size=4", "data.eval_batch_size=5"]
    others = [option for option in SMALL if not option.startswith("data")]
    options = [*others, *of_shards, "data.flip=true", "trainer.max_steps=7"]
    command("train", f"hydra.run.dir={tmp_path}/whole", *options, "data.num_workers=0")
    kill = [*at("backward", 4), "data.num_workers=2"]
    kill_and_go_on(tmp_path / "stopped", [kill], [*options, "data.num_workers=1"])
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_any_moment_leaves_no_trace(whole: Path, tmp_path: Path, moment: str) -> None:
    kill_and_go_on(tmp_path, [at(moment, 1), at(moment, 4 if moment != "testing" else 7)])
    assert_same_run(whole, tmp_path)


def killed_after(folder: Path, seconds: float) -> bool:
    """Kills a run `seconds` after its model is built. Returns whether it was still running."""
    run = start(folder)
    assert run.stdout
    next((line for line in run.stdout if "parameters, in" in line), None)  # a run that has ended says other words
    time.sleep(seconds)
    hit = run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.communicate()
    return hit


@pytest.mark.slow
def test_kills_at_random_times_leave_no_trace(whole: Path, tmp_path: Path) -> None:
    folder = killed_at_random(tmp_path, killed_after, lambda folder: assert_same_run(whole, folder), latest=8, hits=8)
    kill_and_go_on(folder, [])
    assert_same_run(whole, folder)


ASKED = [
    pytest.param(signal.SIGTERM, "after the step", 2, id="SIGTERM after the step"),
    pytest.param(signal.SIGINT, "drawing", 2, id="SIGINT drawing", marks=pytest.mark.slow),
    pytest.param(signal.SIGUSR1, "bound", 4, id="SIGUSR1 bound", marks=pytest.mark.slow),
    pytest.param(signal.SIGUSR2, "testing", 7, id="SIGUSR2 testing", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("signum", "moment", "step"), ASKED)
def test_a_run_that_is_asked_to_stop_saves_and_goes_on(
    whole: Path, tmp_path: Path, signum: int, moment: str, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(SystemExit) as ended:
        command("train", f"hydra.run.dir={tmp_path}", *OPTIONS, *at(moment, step, signum))
    assert ended.value.code == 128 + signum
    assert signal.getsignal(signum) == before
    said = capsys.readouterr()
    assert f"Stopped by {signal.Signals(signum).name} at step {step}; the same options" in said.out
    assert "Traceback" not in said.err
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == step
    command("train", f"hydra.run.dir={tmp_path}", *OPTIONS)
    assert_same_run(whole, tmp_path)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    """Even in the middle of a picture, which the first one lets finish."""
    first = at("drawing", 2, signal.SIGINT)
    run = start(tmp_path, *first, *(option.replace("callbacks.signal", "callbacks.second") for option in first))
    said, _ = run.communicate(timeout=200)
    assert run.returncode == 130
    assert "Stopped at once" in said


@pytest.mark.slow
def test_a_stopped_sweep_is_resumed_by_its_own_folder(tmp_path: Path) -> None:
    sweep = ("-m", f"hydra.sweep.dir={tmp_path}", *SMALL, "seed=0")
    with pytest.raises(SystemExit):
        command("train", *sweep, *at("after the step", 2, signal.SIGINT))
    log = tmp_path / "0" / "train.log"
    assert f"hydra.sweep.dir={tmp_path} resume from" in log.read_text()
    command("train", *sweep)
    assert "Resuming from" in log.read_text()


def test_ctrl_c_while_the_command_starts_ends_it_with_a_word(tmp_path: Path) -> None:
    run = start(tmp_path)
    wait_for(lambda: (tmp_path / "train.log").exists())  # Hydra has begun, and PyTorch is being imported
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Stopped" in said
    assert "Traceback" not in said


def wait_for(condition: Callable[[], bool], seconds: float = 120, every: float = 0.1) -> None:
    """Returns when it holds, which is looked at so often; fails if that takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(every)


@pytest.mark.slow
def test_what_was_measured_before_a_kill_stands_in_the_results(tmp_path: Path) -> None:
    """At the last step, whose checkpoint is there; killed while testing."""
    even = [option for option in OPTIONS if "max_steps" not in option] + ["trainer.max_steps=6"]
    killed(tmp_path, *even, *at("testing", 6))
    command("train", f"hydra.run.dir={tmp_path}", *even)
    assert {NAME, "test/bpd_beta_estimate"} <= results(tmp_path)["metrics"].keys()


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    for number in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"number": number}, last)
    last.write_bytes(last.read_bytes()[:100])
    AtomicCheckpointIO().save_checkpoint({"number": 3}, last)
    numbers = [torch.load(tmp_path / name, weights_only=True)["number"] for name in ("last.ckpt", PREVIOUS)]
    assert numbers == [3, 1]


def test_a_command_that_is_refused_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".log"}
    error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, "loss=elbo")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("train", f"hydra.run.dir={tmp_path}", *OPTIONS, "trainer.max_steps=6")
    last = tmp_path / "checkpoints" / "last.ckpt"
    flip_a_weight(last)
    command("train", f"hydra.run.dir={tmp_path}", *OPTIONS)
    said = capsys.readouterr().out
    assert f"{last} is damaged" in said
    assert f"Resuming from {tmp_path / 'checkpoints' / PREVIOUS}" in said
    assert_same_run(whole, tmp_path)


def flip_a_weight(path: Path) -> None:
    """One bit of the largest tensor in the file."""
    largest = max(zipfile.ZipFile(path).infolist(), key=lambda part: part.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + 256 + largest.file_size // 2] ^= 1
    path.write_bytes(content)


def test_a_part_that_is_marked_as_a_folder_is_damage(tmp_path: Path) -> None:
    """PyTorch reads nothing of it, and leaves in its tensor what memory holds."""
    path = train(tmp_path, "trainer.max_steps=1") / "checkpoints" / "last.ckpt"
    content = bytearray(path.read_bytes())
    last_entry = content.rindex(b"PK\x01\x02")
    content[last_entry + 38] ^= 0x10  # the external attributes
    path.write_bytes(content)
    with pytest.raises(UserError, match="marked as a folder"):
        read_checkpoint(path)


def test_where_both_checkpoints_are_damaged_nothing_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert f"{PREVIOUS} is damaged" in error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL)


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    train(tmp_path, "trainer.max_steps=1")
    path = tmp_path / "checkpoints" / "last.ckpt"
    content, before = path.read_bytes(), read_checkpoint(path)
    draws = random.Random(0)
    noticed = 0
    directory = zipfile.ZipFile(path).start_dir  # a tenth of the file, whose bytes no checksum covers
    for first in [0] * 75 + [directory] * 75:
        flipped = bytearray(content)
        flipped[draws.randrange(first, len(content))] ^= 1 << draws.randrange(8)
        path.write_bytes(flipped)
        try:
            same(read_checkpoint(path), before)
        except UserError:
            noticed += 1
    assert noticed > 75


def test_the_last_two_checkpoints_are_kept(whole: Path) -> None:
    folder = whole / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", PREVIOUS]
    assert [read_checkpoint(folder / name)["global_step"] for name in ("last.ckpt", PREVIOUS)] == [7, 6]


def test_a_run_directory_that_vanished_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "gone" / "checkpoints" / "last.ckpt")


def spoiled(what: str, steps: str, value: str = "nan") -> list[str]:
    spoil = "+callbacks.spoil._target_=tests.moments.Spoil"
    return [
        spoil,
        f"+callbacks.spoil.what={what}",
        f"+callbacks.spoil.steps={steps}",
        f"+callbacks.spoil.value={value}",
    ]


@pytest.mark.parametrize(("what", "value"), [("data", "nan"), ("gradients", "inf")])
def test_a_step_that_is_no_number_is_skipped_and_counted(tmp_path: Path, what: str, value: str) -> None:
    run = train(tmp_path, *spoiled(what, "[1,2]", value), "trainer.max_steps=4")
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert checkpoint["state_dict"]["skipped"].tolist() == [2, 0]
    for part in (checkpoint["state_dict"], checkpoint["ema"]):
        assert all(value.isfinite().all() for value in part.values())
    assert finite(checkpoint["optimizer_states"])
    skipped = [row["train/skipped_steps"] for row in read_rows(run / "metrics.csv") if row["train/skipped_steps"]]
    assert skipped == ["0.0", "1.0", "2.0", "2.0"]
    steps = {int(state["step"]) for state in checkpoint["optimizer_states"][0]["state"].values()}
    assert steps == {2}  # Adam has made two of the four


def finite(node: Any) -> bool:
    if isinstance(node, dict | list):
        return all(finite(each) for each in (node.values() if isinstance(node, dict) else node))
    return not isinstance(node, torch.Tensor) or bool(node.isfinite().all())


@pytest.mark.parametrize("what", ["data", "gradients", pytest.param("weights", marks=pytest.mark.slow)])
def test_too_many_in_a_row_end_the_run_with_what_one_needs_to_know(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil = spoiled(what, "[3,4,5,6,7,8,9]")
    where = [f"hydra.run.dir={tmp_path}", *SMALL, "trainer.max_steps=50", "module.max_skipped=3"]
    said = error_of(capsys, "train", *where, *spoil)
    assert "4 steps in a row had a loss or gradient that is NaN or infinite" in said
    assert "with images [" in said
    assert "at t = [" in said
    assert finite(read_checkpoint(tmp_path / "checkpoints" / "last.ckpt"))
