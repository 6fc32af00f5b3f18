"""`python train.py`, whole: what a run directory holds, resuming, and what must not disturb training."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.metrics_csv import read_rows
from tests.training.commands import results, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), "network.dropout=0.1")


def test_run_directory_is_self_contained(run: Path) -> None:
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {
        ".hydra/config.yaml",
        "checkpoints/last.ckpt",
        "metrics.csv",
        "results.json",
        "loss.png",
        "samples/grid_0000002.png",
        "samples/grid_0000004.png",
        "samples/strip_0000004.png",
    } <= names
    assert not any("=" in name for name in names)
    assert Image.open(run / "samples" / "grid_0000004.png").size == (2 * 50 + 2, 2 * 50 + 2)  # 4 images of 48 pixels
    assert Image.open(run / "samples" / "strip_0000004.png").size == (8 * 50 + 2, 2 * 50 + 2)  # all 8 steps, 2 images


def test_metrics_are_logged_by_optimizer_step(run: Path) -> None:
    rows = [row for row in read_rows(run / "metrics.csv") if row["train/loss"]]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    for key in ("train/loss", "train/grad_norm", "train/images_per_s"):
        assert all(float(row[key]) > 0 for row in rows)
    assert [float(row["train/lr"]) for row in rows] == pytest.approx([0.0005, 0.001, 0.001, 0.001])  # of the next step
    quartiles = [float(row[f"train/loss_q{q}"]) for row in rows for q in (1, 2, 3, 4) if row[f"train/loss_q{q}"]]
    assert len(quartiles) >= 8


def test_without_warm_up_the_learning_rate_is_whole_from_the_start(tmp_path: Path) -> None:
    train(tmp_path, "module.warmup_steps=0")
    rates = [float(row["train/lr"]) for row in read_rows(tmp_path / "metrics.csv") if row["train/lr"]]
    assert rates == [0.001] * 4


def test_results_say_what_they_are_results_of(run: Path) -> None:
    everything = results(run)
    value = everything["metrics"]["test/bpd_beta"]
    assert value["num_images"] == 16
    assert value["step"] == 4
    assert value["weights"] == "ema"
    assert value["split"] == "test"
    assert 0 < value["value"] < 20
    assert value["standard_error"] > 0
    assert everything["seed"] == 0
    assert everything["libraries"]["torch"] == torch.__version__.split("+")[0] or everything["libraries"]["torch"]


def same(one: object, other: object, where: str = "") -> None:
    """Asserts equality to the last bit, all the way down."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor), where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert isinstance(other, dict), where
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert isinstance(other, list), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{where}[{i}]")
    else:
        assert one == other, where


STATE = ("state_dict", "ema", "optimizer_states", "lr_schedulers", "global_step")


def test_a_run_that_stopped_and_went_on_is_the_run_that_never_stopped(run: Path, tmp_path: Path) -> None:
    """Dropout, flips, warm-up and EMA included; stopped in the middle of a pass over the data."""
    train(tmp_path, "network.dropout=0.1", "trainer.max_steps=2")
    train(tmp_path, "network.dropout=0.1")
    whole, halves = (read_checkpoint(path / "checkpoints" / "last.ckpt") for path in (run, tmp_path))
    for key in STATE:
        same(whole[key], halves[key], key)
    losses = [[row["train/loss"] for row in read_rows(path / "metrics.csv")] for path in (run, tmp_path)]
    assert [loss for loss in losses[0] if loss] == [loss for loss in losses[1] if loss]
    assert results(run)["metrics"] == results(tmp_path)["metrics"]
    grids = [(path / "samples" / "grid_0000004.png").read_bytes() for path in (run, tmp_path)]
    assert grids[0] == grids[1]


def test_previews_do_not_disturb_training(run: Path, tmp_path: Path) -> None:
    train(tmp_path, "network.dropout=0.1", "callbacks.grid=null", "callbacks.strip=null", "callbacks.metrics=null")
    for key in STATE:
        same(*(read_checkpoint(path / "checkpoints" / "last.ckpt")[key] for path in (run, tmp_path)), key)


def test_another_seed_is_another_run(run: Path, tmp_path: Path) -> None:
    train(tmp_path, "network.dropout=0.1", "seed=1")
    ours, theirs = (read_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"] for path in (run, tmp_path))
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


def test_accumulated_batches_count_as_one_step(tmp_path: Path) -> None:
    train(tmp_path, "trainer.accumulate_grad_batches=2")
    rows = [row for row in read_rows(tmp_path / "metrics.csv") if row["train/loss"]]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]


def test_bf16_trains_and_ends_near_float32(run: Path, tmp_path: Path) -> None:
    train(tmp_path, "network.dropout=0.1", "trainer.precision=bf16-mixed")
    losses = [
        [float(row["train/loss"]) for row in read_rows(path / "metrics.csv") if row["train/loss"]]
        for path in (run, tmp_path)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_wandb_offline_is_the_default_and_asks_nothing(tmp_path: Path) -> None:
    train(tmp_path, "logger=wandb_offline")
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert (tmp_path / "metrics.csv").is_file()


def test_no_logger_is_a_choice(tmp_path: Path) -> None:
    train(tmp_path, "logger=none")
    assert not (tmp_path / "metrics.csv").exists()
    assert (tmp_path / "results.json").is_file()


def test_colour_images_train_as_grey_ones_do(tmp_path: Path) -> None:
    train(tmp_path, "data.channels=3", "data.levels=256", "data.size=[4,8]", "variance=learned_range", "loss=hybrid")
    assert "test/bpd_learned_range" in results(tmp_path)["metrics"]
    assert Image.open(tmp_path / "samples" / "grid_0000004.png").mode == "RGB"
