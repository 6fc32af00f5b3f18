"""A step whose gradient is no number changes nothing, and no step waits for the device to learn of it."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.skipped_steps import skip_step
from tests.cli.test_train import STATE, same
from tests.commands import SMALL, error_of, train
from tests.runtime.test_stopped import spoiled
from tests.training.test_init_from import FAST

STOPS_AT = "tests.training.checkpoints.test_early.StopsAt"

OPTIMIZERS = {
    "Adam": partial(Adam, lr=0.1),
    "Adam, fused": partial(Adam, lr=0.1, fused=True, amsgrad=True),
    "AdamW, fused": partial(AdamW, lr=0.1, fused=True),
    "SGD with momentum, fused": partial(SGD, lr=0.1, momentum=0.9, fused=True),
    "RMSprop": partial(RMSprop, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_skipped_steps_leave_no_trace(make: Callable[[Iterator[nn.Parameter]], Optimizer]) -> None:
    """The first among them, before the optimizer has a state."""
    nan, inf = float("nan"), float("inf")
    skipping, plain = (after(make, scales) for scales in ([nan, 1, inf, -inf, -2, nan, 3], [1, -2, 3]))
    same(skipping, plain)


def after(make: Callable[[Iterator[nn.Parameter]], Optimizer], scales: list[float]) -> dict[str, Any]:
    """The weights and the optimizer's state after steps whose gradients are these multiples of the weights."""
    network = nn.Linear(3, 2)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    optimizer = make(network.parameters())
    for scale in scales:
        optimizer.zero_grad()
        (0.5 * scale * sum(parameter.square().sum() for parameter in network.parameters())).backward()
        skip_step(optimizer, ~nn.utils.get_total_norm([p.grad for p in network.parameters()]).isfinite())
        optimizer.step()
    return {"weights": network.state_dict(), "optimizer": optimizer.state_dict()["state"]}


def test_a_training_step_does_not_wait_for_the_device(tmp_path: Path) -> None:
    """It looks at steps 1 and 11 for the average's start and the progress bar, at 10 and 12 for what is logged."""
    file = tmp_path / "waits.json"
    count = ["+callbacks.waits._target_=tests.moments.CountWaits", f"+callbacks.waits.path={file}"]
    every = ["callbacks.metrics.every_n_steps=10", "callbacks.checkpoint.every_n_steps=100"]
    train(tmp_path, *FAST, *every, *count, "network.dropout=0.1", "data.flip=true", "trainer.max_steps=12")
    assert json.loads(file.read_text()).keys() == {"1", "10", "11", "12"}


@pytest.mark.parametrize("end", [7, pytest.param(50, marks=pytest.mark.slow)])
def test_too_many_skipped_steps_end_the_run_though_it_recovered(
    tmp_path: Path, end: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last checkpoint is from before the last of them."""
    options = [*SMALL, *FAST, *spoiled("gradients", "[3,4,5,6]"), "module.max_skipped=3", f"trainer.max_steps={end}"]
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *options)
    assert (
        "4 steps in a row had a loss or gradient that is NaN or infinite, the last of them step 7, with images ["
        in said
    )
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 6


def test_a_run_that_ends_early_after_too_many_skipped_steps_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = [f"+callbacks.early.{option}" for option in (f"_target_={STOPS_AT}", "hook=on_train_batch_end", "step=5")]
    options = [*SMALL, *FAST, *spoiled("data", "[2,3]"), "module.max_skipped=1", *early, "trainer.max_steps=50"]
    assert "2 steps in a row" in error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *options)


@pytest.mark.slow
def test_skipped_steps_in_a_row_are_counted_across_a_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*FAST, *spoiled("gradients", "[0,2,3]"), "module.max_skipped=1"]
    train(tmp_path, *options, "trainer.max_steps=3")
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]["skipped"].tolist() == [2, 1]
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, *options, "trainer.max_steps=5")
    assert "2 steps in a row" in said


@pytest.mark.slow
def test_a_resumed_run_with_skipped_steps_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    options = [*FAST, *spoiled("gradients", "[0,3,4]"), "callbacks.ema.warmup=true"]
    train(tmp_path / "whole", *options, "trainer.max_steps=7")
    for end in (4, 7):
        train(tmp_path / "halves", *options, f"trainer.max_steps={end}")
    whole, halves = (read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "halves"))
    for key in STATE:
        same(whole[key], halves[key], key)
