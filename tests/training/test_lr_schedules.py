"""The learning rate by step: against diffusers' schedules and written-out formulas, and in a run that is resumed."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from ddpm_lightning.training.lr_schedules import ConstantLR, CosineLR, InverseSqrtLR, LinearLR, LRSchedule
from tests.cli.test_train import STATE, same
from tests.commands import train
from tests.training.test_ema import new_module
from tests.training.test_init_from import FAST


def rates(schedule: LRSchedule, warmup: int, steps: int) -> list[float]:
    module = new_module()
    module.lr_schedule, module.warmup_steps = schedule, warmup
    return [module.rate(step) for step in range(steps)]


def theirs(scheduler: LambdaLR, steps: int) -> list[float]:
    factor = scheduler.lr_lambdas[0]
    return [factor(step) for step in range(steps)]


@pytest.mark.parametrize("warmup", [0, 1, 30])
def test_cosine_and_linear_are_those_of_diffusers(warmup: int) -> None:
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    cosine, linear = (
        get(optimizer, warmup, 100) for get in (get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup)
    )
    assert rates(CosineLR(100), warmup, 101) == pytest.approx(theirs(cosine, 101), abs=1e-15)
    assert rates(LinearLR(100), warmup, 120) == pytest.approx(theirs(linear, 120), abs=1e-15)


def test_the_formulas_written_out() -> None:
    """Each at a quarter of the way, at the end, and beyond it; the warm-up of 20 steps is at its half at step 10."""
    cosine, linear = CosineLR(100, final=0.1), LinearLR(100, final=0.1)
    assert rates(cosine, 20, 1000)[10::30][:2] == pytest.approx([0.5, 0.1 + 0.45 * (1 + math.cos(math.pi / 4))])
    assert rates(linear, 20, 1000)[10::30][:2] == pytest.approx([0.5, 0.1 + 0.9 * 0.75])
    assert rates(cosine, 20, 1000)[100:] == rates(linear, 20, 1000)[100:] == pytest.approx([0.1] * 900)
    inverse = rates(InverseSqrtLR(25), 20, 401)
    assert [inverse[step] for step in (10, 20, 25, 100, 400)] == pytest.approx([0.5, 1, 1, 1 / 2, 1 / 4])
    assert rates(ConstantLR(), 2, 5) == [0, 0.5, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CosineLR(4).check(4), "lr_schedule.total_steps=4 leaves no step after the warm-up of "),
        (lambda: InverseSqrtLR(1).check(2), "lr_schedule.reference_steps=1 would end before the warm-up of "),
        (lambda: LinearLR(4, final=2.0), r"lr_schedule.final=2.0 lies outside \[0, 1\]"),
        (lambda: LinearLR(-1), "lr_schedule.total_steps=-1 is not a whole number"),
    ],
)
def test_what_leaves_no_room_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


CHOICES = ["lr_schedule=cosine", "lr_schedule.total_steps=4", "optimizer=muon", *FAST]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), *CHOICES)


def logged(run: Path) -> list[float]:
    return [float(row["train/lr"]) for row in read_rows(run / "metrics.csv") if row["train/lr"]]


def test_a_run_follows_its_schedule(run: Path) -> None:
    """Warm-up over two steps, then half of a cosine: the rate of the next step after each step."""
    assert logged(run) == pytest.approx([5e-4, 1e-3, 5e-4, 0], abs=1e-12)


def test_a_resume_in_the_middle_is_exact(run: Path, tmp_path: Path) -> None:
    """Muon, too."""
    train(tmp_path, *CHOICES, "trainer.max_steps=2")
    train(tmp_path, *CHOICES)
    whole, halves = (read_checkpoint(each / "checkpoints" / "last.ckpt") for each in (run, tmp_path))
    for key in STATE:
        same(whole[key], halves[key], key)


@pytest.mark.slow
def test_a_resumed_run_gets_a_longer_schedule_if_that_is_allowed(run: Path, tmp_path: Path) -> None:
    train(tmp_path, *CHOICES, "trainer.max_steps=3")
    longer = ["lr_schedule.total_steps=6", "resume.allow=[lr_schedule.total_steps]"]
    train(tmp_path, *CHOICES, *longer)
    cosines = [0.5 * (1 + math.cos(math.pi * done)) for done in (0, 1 / 2, 2 / 4)]
    assert logged(tmp_path) == pytest.approx([5e-4, 1e-3, 5e-4, 1e-3 * cosines[2]], abs=1e-12)
