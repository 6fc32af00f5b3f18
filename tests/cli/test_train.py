"""`python train.py`, whole: what a run directory holds, resuming, and what must not disturb training."""

from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from PIL import Image

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.run_directory import alone_in
from ddpm_lightning.training.checkpoint import AtomicCheckpointIO, read_checkpoint
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.commands import SMALL, command, error_of, results, train
from tests.configuration.test_choices import composed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), "network.dropout=0.1", plots=True)


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
        "samples/grid_final.png",
        "samples/strip_final.png",
    } <= names
    assert not any("=" in name for name in names)
    assert Image.open(run / "samples" / "grid_final.png").size == (2 * 50 + 2, 2 * 50 + 2)  # 4 images of 48 pixels
    assert Image.open(run / "samples" / "strip_final.png").size == (8 * 50 + 2, 2 * 50 + 2)  # all 8 steps, 2 images


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
    value = everything["metrics"]["test/bpd_beta_estimate"]
    assert value["num_images"] == 16
    assert value["step"] == 4
    assert value["weights"] == "ema"
    assert value["split"] == "test"
    assert 0 < value["value"] < 20
    assert value["standard_error"] > 0
    assert everything["seed"] == 0
    assert everything["libraries"]["torch"] == version("torch")


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
    assert losses(run) == losses(tmp_path)
    assert results(run)["metrics"] == results(tmp_path)["metrics"]
    grids = [(path / "samples" / "grid_final.png").read_bytes() for path in (run, tmp_path)]
    assert grids[0] == grids[1]


def test_previews_do_not_disturb_training(run: Path, tmp_path: Path) -> None:
    train(tmp_path, "network.dropout=0.1", "callbacks.grid=null", "callbacks.strip=null", "callbacks.metrics=null")
    for key in STATE:
        same(*(read_checkpoint(path / "checkpoints" / "last.ckpt")[key] for path in (run, tmp_path)), key)


def test_another_seed_is_another_run(run: Path, tmp_path: Path) -> None:
    train(tmp_path, "network.dropout=0.1", "seed=1")
    ours, theirs = (read_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"] for path in (run, tmp_path))
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


def losses(run_dir: Path) -> list[float]:
    return [float(row["train/loss"]) for row in read_rows(run_dir / "metrics.csv") if row["train/loss"]]


@pytest.mark.slow
def test_reading_ahead_changes_nothing(run: Path, tmp_path: Path) -> None:
    """Two processes read ahead of training, are stopped with it, and go on."""
    options = ["network.dropout=0.1", "data.num_workers=2"]
    train(tmp_path, *options, "trainer.max_steps=2")
    train(tmp_path, *options)
    for key in STATE:
        same(*(read_checkpoint(path / "checkpoints" / "last.ckpt")[key] for path in (run, tmp_path)), key)


def test_a_finished_run_says_so_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, "trainer.max_steps=2")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and ".hydra" not in path.parts}
    train(tmp_path, "trainer.max_steps=2")
    assert all(path.read_bytes() == content for path, content in before.items() if path.suffix != ".log")


def test_a_run_stopped_before_its_last_pictures_still_draws_them(tmp_path: Path) -> None:
    """All steps are made and saved, nothing after; and results of fewer steps do not make it finished."""
    train(tmp_path, "trainer.max_steps=2", plots=True)
    (tmp_path / "results.json").unlink()
    for picture in (tmp_path / "samples").iterdir():
        picture.unlink()
    train(tmp_path, "trainer.max_steps=2", plots=True)
    assert {"grid_final.png", "strip_final.png"} <= {path.name for path in (tmp_path / "samples").iterdir()}
    train(tmp_path, "trainer.max_steps=4", plots=True)
    assert results(tmp_path)["metrics"]["test/bpd_beta_estimate"]["step"] == 4


def test_a_run_shorter_than_a_window_has_its_loss_too(tmp_path: Path) -> None:
    train(tmp_path, "callbacks.metrics.every_n_steps=3")
    assert [row["step"] for row in read_rows(tmp_path / "metrics.csv") if row["train/loss"]] == ["3", "4"]


def test_without_the_average_the_results_say_raw(tmp_path: Path) -> None:
    train(tmp_path, "callbacks.ema=null")
    assert results(tmp_path)["metrics"]["test/bpd_beta_raw_estimate"]["weights"] == "raw"
    assert "ema" not in read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")


def test_without_checkpoints_nothing_is_saved_or_promised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, "callbacks.checkpoint=null")
    assert not list(tmp_path.rglob("*.ckpt"))
    assert "sample.py" not in capsys.readouterr().out


def test_bits_per_dim_do_not_depend_on_the_batch_size(run: Path, tmp_path: Path) -> None:
    train(tmp_path, "network.dropout=0.1", "data.eval_batch_size=16")
    ours, theirs = (results(path)["metrics"]["test/bpd_beta_estimate"] for path in (run, tmp_path))
    assert ours["value"] == pytest.approx(theirs["value"], rel=1e-5)


def test_a_sweep_makes_a_run_directory_for_each_job(tmp_path: Path) -> None:
    command("train", "-m", f"hydra.sweep.dir={tmp_path}", *SMALL, "seed=0,1", "trainer.max_steps=1")
    values = [results(tmp_path / job)["metrics"]["test/bpd_beta_estimate"]["value"] for job in ("0", "1")]
    assert values[0] != values[1]


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(run: Path, tmp_path: Path) -> None:
    """As on a full disk, where torch raises RuntimeError."""
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"a": 1}, path)

    class Unwritable:
        def __reduce__(self) -> str:
            raise RuntimeError("no space left")

    with pytest.raises(UserError, match="cannot be written"):
        AtomicCheckpointIO().save_checkpoint({"a": Unwritable()}, path)
    assert torch.load(path, weights_only=True) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir() if "tmp" in file.name] == []


def test_bf16_trains_and_ends_near_float32(run: Path, tmp_path: Path) -> None:
    train(tmp_path, "network.dropout=0.1", "trainer.precision=bf16-mixed")
    assert losses(run) == pytest.approx(losses(tmp_path), rel=0.02)


def test_wandb_offline_is_the_default_and_asks_nothing(tmp_path: Path) -> None:
    train(tmp_path, "logger=wandb")
    assert composed()["logger"] == composed("logger=wandb")["logger"]
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert (tmp_path / "metrics.csv").is_file()


def test_two_commands_do_not_train_in_one_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with alone_in(tmp_path):
        said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL)
    assert f"another process is training in {tmp_path}" in said
    assert not (tmp_path / "checkpoints").exists()


def test_no_logger_is_a_choice(tmp_path: Path) -> None:
    train(tmp_path, "logger=none")
    assert not (tmp_path / "metrics.csv").exists()
    assert (tmp_path / "results.json").is_file()


def test_colour_images_train_as_grey_ones_do(tmp_path: Path) -> None:
    train(tmp_path, "data.channels=3", "data.levels=256", "data.size=[4,8]", "variance=learned_range", "loss=hybrid")
    assert "test/bpd_learned_range_estimate" in results(tmp_path)["metrics"]
    assert Image.open(tmp_path / "samples" / "grid_final.png").mode == "RGB"
