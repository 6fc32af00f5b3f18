"""trainer.accumulate_grad_batches changes the memory of a step, and nothing that comes of it."""

import signal
from pathlib import Path

import pytest
import torch

from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.cli.test_train import STATE, losses, same
from tests.commands import SMALL, error_of, killed, train
from tests.runtime.test_stopped import at

FOUR_TURNS = "trainer.accumulate_grad_batches=4"
TWO_TURNS = "trainer.accumulate_grad_batches=2"
OPTIONS = ["data.flip=true", "timesteps=importance", "trainer.max_steps=8"]
DROPOUT = "network.dropout=0.1"


def gradient(run: Path) -> torch.Tensor:
    """Of a run of one step: Adam's first moment is a tenth of it."""
    states = read_checkpoint(run / "checkpoints" / "last.ckpt")["optimizer_states"][0]["state"]
    return 10 * torch.cat([state["exp_avg"].flatten() for state in states.values()])


ONE_STEP = ["trainer.max_steps=1", "data.flip=true", "timesteps=importance"]


@pytest.fixture(scope="module")
def whole_gradient(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The gradient of a step that is made at once."""
    return gradient(train(tmp_path_factory.mktemp("one_step"), *ONE_STEP))


@pytest.mark.parametrize("option", [TWO_TURNS, FOUR_TURNS, "network.activation_checkpointing=true"])
def test_the_gradient_is_the_same(option: str, whole_gradient: torch.Tensor, tmp_path: Path) -> None:
    divided = gradient(train(tmp_path, *ONE_STEP, option))
    assert (divided - whole_gradient).norm() < 1e-6 * whole_gradient.norm()


@pytest.mark.slow
def test_so_is_every_number_by_optimizer_step(tmp_path: Path) -> None:
    whole, divided = train(tmp_path / "whole", *OPTIONS), train(tmp_path / "divided", *OPTIONS, FOUR_TURNS)
    ours, theirs = (read_rows(run / "metrics.csv") for run in (whole, divided))
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for our, their in zip(ours, theirs, strict=True):
        numbers = [name for name, value in our.items() if value and "/s" not in name and not name.startswith("time/")]
        for name in set(numbers) - {"train/images_per_s", "train/memory_gib"}:
            assert float(their[name]) == pytest.approx(float(our[name]), rel=1e-5), (our["step"], name)


@pytest.mark.slow
def test_processes_accumulate_together(tmp_path: Path) -> None:
    alone, both = train(tmp_path / "alone", *OPTIONS), train(tmp_path / "both", *OPTIONS, "trainer=ddp_cpu", TWO_TURNS)
    assert losses(both) == pytest.approx(losses(alone), rel=1e-5)


@pytest.mark.slow
def test_two_parts_leave_out_the_same_features_as_two_processes(tmp_path: Path) -> None:
    """Dropout belongs to the part of the batch, whichever way it is divided."""
    turns = train(tmp_path / "turns", *OPTIONS, DROPOUT, TWO_TURNS)
    processes = train(tmp_path / "processes", *OPTIONS, DROPOUT, "trainer=ddp_cpu")
    assert losses(turns) == pytest.approx(losses(processes), rel=1e-5)


def same_end(one: Path, other: Path) -> None:
    ours, theirs = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (one, other))
    for key in STATE:
        same(ours[key], theirs[key], key)
    assert losses(one) == losses(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that never stopped."""
    return train(tmp_path_factory.mktemp("whole"), TWO_TURNS, DROPOUT)


def test_a_run_goes_on_where_it_stopped(whole: Path, tmp_path: Path) -> None:
    train(tmp_path, TWO_TURNS, DROPOUT, "trainer.max_steps=2")
    same_end(whole, train(tmp_path, TWO_TURNS, DROPOUT))


def test_accumulated_gradients_are_not_lost(whole: Path, tmp_path: Path) -> None:
    """Asked between two batches of a step, the run finishes the step."""
    with pytest.raises(SystemExit):
        train(tmp_path, TWO_TURNS, DROPOUT, *at("backward", 1, signal.SIGTERM))
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2
    same_end(whole, train(tmp_path, TWO_TURNS, DROPOUT))


@pytest.mark.slow
def test_killed_between_two_batches_of_a_step_it_repeats_the_step(whole: Path, tmp_path: Path) -> None:
    killed(tmp_path, *SMALL, TWO_TURNS, DROPOUT, *at("backward", 3))
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2
    same_end(whole, train(tmp_path, TWO_TURNS, DROPOUT))


@pytest.mark.parametrize(("before", "after"), [pytest.param(1, 4, marks=pytest.mark.slow), (4, 2)])
def test_a_run_may_go_on_with_another_number(before: int, after: int, tmp_path: Path) -> None:
    """Such as one that ran out of memory. An odd number of steps, so that parts of the two would not meet by chance."""
    whole = train(tmp_path / "whole", *OPTIONS)
    train(tmp_path / "halves", *OPTIONS, f"trainer.accumulate_grad_batches={before}", "trainer.max_steps=3")
    train(tmp_path / "halves", *OPTIONS, f"trainer.accumulate_grad_batches={after}")
    assert losses(tmp_path / "halves") == pytest.approx(losses(whole), rel=1e-5)


def test_a_batch_that_does_not_divide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, "trainer.accumulate_grad_batches=3")
    assert "data.batch_size=4 does not divide among 1 process × 3 accumulated batches" in said
    assert "choose a multiple of 3" in said
    assert "parameters, in" not in (tmp_path / "train.log").read_text()  # told before a logger begins


def test_what_went_wrong_is_told_of_the_whole_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every image of the step is named, whichever of its parts had them."""
    spoil = ["+callbacks.spoil._target_=tests.moments.Spoil", "+callbacks.spoil.what=gradients"]
    options = [*SMALL, *spoil, "+callbacks.spoil.steps=[0,1]", "module.max_skipped=1", TWO_TURNS]
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *options)
    images, t = (said.partition(words)[2].partition("]")[0] for words in ("with images [", "at t = ["))
    assert len(set(images.split(","))) == len(t.split(",")) == 4
