"""Images made by several jobs are those of one, each made once, and none is missed silently."""

import itertools
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_lightning.evaluation.generated_shards import GeneratedShards, part_of
from ddpm_lightning.evaluation.image_sets import Generated
from tests.commands import command, error_of, results
from tests.conftest import ROOT
from tests.evaluation.test_evaluate import all_images, checkpoint, options
from tests.runtime.test_processes import children
from tests.runtime.test_stopped import wait_for

__all__ = ["checkpoint"]

SET = ("num_images=72", "batch_size=9")


@pytest.mark.parametrize(("n", "batch_size"), [(72, 9), (70, 9), (50_000, 256), (1, 4)])
@pytest.mark.parametrize("parts", [1, 2, 5, 8])
def test_the_parts_have_every_number_once_cut_between_batches(n: int, batch_size: int, parts: int) -> None:
    cut = [part_of(n, part, parts, batch_size) for part in range(parts)]
    assert list(itertools.chain(*cut)) == list(range(n))
    assert all(numbers.start % batch_size == 0 for numbers in cut if numbers)
    sizes = [math.ceil(len(numbers) / batch_size) for numbers in cut]
    assert max(sizes) - min(sizes) <= 1


def test_two_jobs_at_once_make_what_one_does(checkpoint: Path, tmp_path: Path) -> None:
    """Byte for byte, and so every number that is read off them."""
    metrics = "metrics=[fd_digits,score_digits,prc_digits]"
    command("evaluate", *options(checkpoint, tmp_path / "one", *SET, metrics))
    shared = (*SET, f"generated={tmp_path}/two/images", "parts=2")
    call = ["evaluate", *options(checkpoint, tmp_path / "job", *shared)]
    copies = multiprocessing.get_context("fork")  # of this process, for others would import everything again
    jobs = [copies.Process(target=command, args=(*call, f"part={p}", f"hydra.run.dir={tmp_path}/{p}")) for p in (0, 1)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(300)
    assert [job.exitcode for job in jobs] == [0, 0]
    command("evaluate", *options(checkpoint, tmp_path / "two", *shared, metrics))
    for path in sorted((tmp_path / "one" / "images").glob("*.npz")):
        with np.load(path) as alone, np.load(tmp_path / "two" / "images" / path.name) as together:
            np.testing.assert_array_equal(alone["images"], together["images"])
    assert len(list((tmp_path / "two" / "images").iterdir())) == 9, "eight shards and their recipe"
    assert results(tmp_path / "two")["metrics"] == results(tmp_path / "one")["metrics"]


def make(checkpoint: Path, folder: Path, *more: str) -> None:
    command("evaluate", *options(checkpoint, folder, *SET, *more))


def test_what_is_missing_is_named_and_what_is_there_is_not_made_again(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[range] = []
    original = Generated._make

    def noted(self: Generated, fabric: Any, numbers: range, bar: Any) -> Any:
        made.append(numbers)
        return original(self, fabric, numbers, bar)

    monkeypatch.setattr(Generated, "_make", noted)
    make(checkpoint, tmp_path, "part=1", "parts=4")
    make(checkpoint, tmp_path, "part=1", "parts=4")
    assert made == [range(18, 27), range(27, 36)]
    said = error_of(capsys, "evaluate", *options(checkpoint, tmp_path, *SET, "parts=4", "metrics=[fd_digits]"))
    assert f"of the 4 parts of 72 images, {tmp_path}/images lacks part=0,2,3" in said
    assert len(made) == 2
    swept = [option for option in options(checkpoint, tmp_path, *SET) if not option.startswith("hydra.run.dir=")]
    command("evaluate", "-m", *swept, "part=0,2,3", "parts=4", f"hydra.sweep.dir={tmp_path}")
    assert len(made) == 8
    make(checkpoint, tmp_path, "parts=4", "metrics=[fd_digits]")
    assert len(made) == 8
    assert len(all_images(tmp_path, 72)) == 72


def test_a_part_that_is_asked_to_stop_keeps_its_images_and_asks_for_another_turn(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before the time of a job of Slurm is over."""
    heard: list[list[range]] = []
    original = Generated._make

    def warned(self: Generated, fabric: Any, numbers: range, bar: Any) -> Any:
        if numbers.start == 9:
            signal.raise_signal(signal.SIGUSR2)
        return original(self, fabric, numbers, bar)

    before = signal.signal(signal.SIGUSR2, lambda *_: heard.append(GeneratedShards(tmp_path / "images").ranges()))
    monkeypatch.setattr(Generated, "_make", warned)
    try:
        with pytest.raises(SystemExit) as ended:
            make(checkpoint, tmp_path, "part=0", "parts=2")
    finally:
        signal.signal(signal.SIGUSR2, before)
        monkeypatch.undo()
    assert ended.value.code == 128 + signal.SIGUSR2
    assert heard == [[range(9)]]
    make(checkpoint, tmp_path, "part=0", "parts=2")
    assert GeneratedShards(tmp_path / "images").missing(range(36), 72) == []


@pytest.mark.slow  # test_processes has the same of training
def test_a_process_that_is_asked_to_stop_tells_the_others(checkpoint: Path, tmp_path: Path) -> None:
    """Or they would wait for it."""
    options_ = options(checkpoint, tmp_path, "num_images=360", "batch_size=9", "part=0", "parts=1", "trainer.devices=2")
    call = [sys.executable, "evaluate.py", *options_]
    run = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: bool(GeneratedShards(tmp_path / "images").ranges()))
    *_, last = children(run.pid)
    os.kill(int(last), signal.SIGUSR1)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 128 + signal.SIGUSR1, said
    assert "The finished images are in" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["part=2"], "parts=None is not a whole number of at least 1"),
        (["part=8", "parts=8"], "part=8 exceeds 7: parts=8 are counted from 0"),
        (["part=-1", "parts=8"], "part=-1 is not a whole number of at least 0"),
        (["part=0", "parts=9"], "parts=9 exceeds 8: there are no more batches than that; make batch_size= smaller"),
        (["part=0", "parts=2", "images=somewhere"], "part= and parts= divide images that are generated"),
    ],
)
def test_parts_that_are_none(
    checkpoint: Path, tmp_path: Path, wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in error_of(capsys, "evaluate", *options(checkpoint, tmp_path, *SET, *wrong))
