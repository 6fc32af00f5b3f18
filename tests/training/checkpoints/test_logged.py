"""Every number of metrics.csv is as true after a resume as without one."""

import math
import time
from pathlib import Path

import pytest
import torch

from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.commands import SMALL, command
from tests.runtime.test_stopped import logged

SECONDS = 0.1
"""That each step takes, in vain."""

BATCH = 4

OPTIONS = [
    *(*SMALL, "network.dropout=0.1", "trainer.max_steps=9", "module.test_strata=2", "callbacks.bound.strata=2"),
    *("callbacks.metrics.every_n_steps=4", "callbacks.bound.every_n_steps=4", "callbacks.grid.every_n_steps=4"),
    *("callbacks.checkpoint.every_n_steps=7", "callbacks.strip=null"),
    *("+callbacks.slowly._target_=tests.moments.Slowly", f"+callbacks.slowly.seconds={SECONDS}"),
]

Numbers = dict[tuple[str, str], float]
"""By step and name."""


def run(folder: Path, *more: str) -> None:
    command("train", f"hydra.run.dir={folder}", *OPTIONS, *more)


def numbers(folder: Path) -> Numbers:
    rows = read_rows(folder / "metrics.csv")
    return {(row["step"], k): float(v) for row in rows for k, v in row.items() if v and k != "step"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that was stopped in the third of a window's four steps, and resumed; and the seconds that it took."""
    folder, began = tmp_path_factory.mktemp("stopped"), time.perf_counter()
    stop = "+callbacks.stop"
    run(
        folder,
        f"{stop}._target_=tests.training.checkpoints.test_early.StopsAt",
        f"{stop}.hook=on_train_batch_end",
        f"{stop}.step=7",
    )
    time.sleep(3 * SECONDS)  # which are nobody's
    run(folder)
    return folder, time.perf_counter() - began


def test_the_same_numbers_are_logged(whole: Path, stopped: tuple[Path, float]) -> None:
    assert logged(whole).items() <= logged(stopped[0]).items()
    lacking = numbers(whole).keys() - numbers(stopped[0]).keys()
    assert lacking <= {("8", "time/save_s")}  # the checkpoint cannot hold how long its own saving took


def test_the_speed_is_that_of_the_whole_window(stopped: tuple[Path, float]) -> None:
    found = {step: value for (step, name), value in numbers(stopped[0]).items() if name == "train/images_per_s"}
    assert list(found) == ["4", "7", "8", "9"]
    fastest = BATCH / SECONDS
    # The time to log one window counts for neither, so a window can seem shorter by some milliseconds.
    assert all(BATCH / stopped[1] < speed <= fastest * 1.1 for speed in found.values())


def test_the_seconds_of_all_phases_are_those_that_passed(stopped: tuple[Path, float]) -> None:
    folder, passed = stopped
    seconds = {key: value for key, value in numbers(folder).items() if key[1].startswith("time/")}
    assert all(value >= 0 for value in seconds.values())
    of_window = sum(value for (step, name), value in seconds.items() if step == "8" and "after" not in name)
    assert 4 * SECONDS < of_window < passed - 3 * SECONDS


def test_the_memory_is_that_of_a_process(whole: Path, stopped: tuple[Path, float]) -> None:
    ours, theirs = (numbers(folder)["8", "train/memory_gib"] for folder in (whole, stopped[0]))
    assert ours == pytest.approx(theirs, rel=0.5)


@pytest.mark.slow
def test_a_checkpoint_of_before_has_no_clock_and_no_speed_is_invented(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    checkpoint = read_checkpoint(whole / "checkpoints" / "previous.ckpt")
    for key in ("passed", "elapsed", "spent"):
        del checkpoint["callbacks"]["TrainingMetrics"][key]
    torch.save(checkpoint, tmp_path / "checkpoints" / "last.ckpt")
    run(tmp_path)
    assert math.isnan(numbers(tmp_path)["8", "train/images_per_s"])
    assert 0 < numbers(tmp_path)["9", "train/images_per_s"] <= BATCH / SECONDS * 1.01
