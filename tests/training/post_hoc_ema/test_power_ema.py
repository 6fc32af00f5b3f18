"""Averages of lengths that are chosen after training: rebuilt, resumed, sampled from, and refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.post_hoc_ema.power_ema import PowerEMA
from ddpm_lightning.training.post_hoc_ema.snapshots import TRACKS, KeptAverages, Snapshots, steps_in
from tests.cli.test_train import STATE, same
from tests.commands import command, error_of, results, train
from tests.training.test_init_from import FAST

OPTIONS = [*FAST, "callbacks/ema=power", "callbacks.ema.every_n_steps=2", "trainer.max_steps=40"]
OPTIONS += ["callbacks.metrics=null", "callbacks.checkpoint.every_n_steps=100"]


def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), *OPTIONS)


def test_other_lengths_are_rebuilt_as_if_they_had_been_kept(run: Path, tmp_path: Path) -> None:
    """Another run with the same weights at each step keeps them."""
    train(tmp_path, *OPTIONS, "callbacks.ema.lengths=[0.07,0.15,0.2]")
    kept = KeptAverages(last(run))
    directly, nearest = (read_checkpoint(last(each))[TRACKS] for each in (tmp_path, run))
    for length, average in zip(directly["lengths"], directly["averages"], strict=True):
        error = distance(kept.rebuild(length), average)
        assert error < 1e-4
        assert error < 0.02 * min(distance(each, average) for each in nearest["averages"])


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    """‖one − other‖/‖other‖ over all weights."""
    difference = torch.cat([(one[name] - other[name]).flatten() for name in one])
    return float(difference.norm() / torch.cat([weight.flatten() for weight in other.values()]).norm())


def test_a_resumed_run_keeps_the_same(run: Path, tmp_path: Path) -> None:
    """Snapshots of steps after the checkpoint, as a kill leaves them, are made again."""
    train(tmp_path, *OPTIONS, "trainer.max_steps=21")
    (tmp_path / "ema_snapshots" / "step_0000038.pt").write_bytes(b"half")
    train(tmp_path, *OPTIONS)
    whole, halves = (read_checkpoint(last(each)) for each in (run, tmp_path))
    for key in (*STATE, TRACKS):
        same(whole[key], halves[key], key)
    folders = [each / "ema_snapshots" for each in (run, tmp_path)]
    assert steps_in(folders[0]) == steps_in(folders[1]) == list(range(2, 41, 2))
    for step in steps_in(folders[0]):
        one, other = (torch.load(folder / f"step_{step:07d}.pt", weights_only=True) for folder in folders)
        same(one, other, str(step))


def test_the_first_length_is_the_average_that_is_tested(run: Path) -> None:
    checkpoint = read_checkpoint(last(run))
    same(checkpoint["ema"], checkpoint[TRACKS]["averages"][0])
    same(KeptAverages(last(run)).rebuild(0.1).keys(), checkpoint["ema"].keys())
    assert distance(KeptAverages(last(run)).rebuild(0.1), checkpoint["ema"]) < 1e-6


def test_evaluate_measures_the_average_of_a_length(run: Path, tmp_path: Path) -> None:
    options = [f"checkpoint={last(run)}", "metrics=[bpd_estimate]", f"hydra.run.dir={tmp_path}", "ema_length=0.15"]
    command("evaluate", *options)
    (name,) = results(tmp_path)["metrics"]
    assert "_ema_0.15" in name
    assert results(tmp_path)["metrics"][name]["weights"] == "ema_0.15"


def test_what_cannot_be_rebuilt_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = ["sample", f"checkpoint={last(run)}", f"hydra.run.dir={tmp_path}/samples"]
    assert "ema_length=0.5 lies outside (0, 0.2" in error_of(capsys, *sample, "ema_length=0.5")
    assert "use_ema=false for raw ones" in error_of(capsys, *sample, "ema_length=0.1", "use_ema=false")
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "ema_snapshots" / "step_0000004.pt").write_bytes(b"half")
    with pytest.raises(UserError, match=r"step_0000004\.pt is damaged; delete it"):
        KeptAverages(last(damaged))
    torch.save({"n": 4, "lengths": [0.1], "averages": torch.zeros(1, 3)}, damaged / "ema_snapshots" / "step_0000004.pt")
    with pytest.raises(UserError, match=r"step_0000004\.pt holds no averages of this run's weights"):
        KeptAverages(last(damaged))


def test_few_averages_are_told(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(last(run), last(tmp_path))
    KeptAverages(last(tmp_path)).rebuild(0.2)
    assert "ema_length=0.2 is rebuilt with an error of" in caplog.text


def test_snapshots_are_spread_evenly_and_at_most_so_many(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshots", every_n_steps=5, most=4)
    for step in range(1, 121):
        if snapshots.is_due(step):
            snapshots.write(step, {"averages": [{"weight": torch.zeros(2)}]})
        assert len(steps_in(snapshots.folder)) <= 4
    assert steps_in(snapshots.folder) == [40, 80, 120]
    snapshots.remove({80, 120})
    assert steps_in(snapshots.folder) == [40]


@pytest.mark.parametrize("lengths", [[], [0.1, 0.1], [0.5]])
def test_lengths_must_differ_and_exist(lengths: list[float]) -> None:
    with pytest.raises(UserError, match=r"callbacks\.ema\.lengths"):
        PowerEMA(lengths)
