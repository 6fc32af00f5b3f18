"""Consistency tuning: closed forms for Gaussian data, its minimum, its stages, and what both network calls share."""

import math
from itertools import cycle, pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.losses import ConsistencyLoss, Simple, UncertaintyLoss
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import X0, Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule, Schedule
from ddpm_lightning.diffusion.variances import BetaVariance, LearnedVariance
from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.dropout import Dropout
from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.choices import PARAMETERIZATIONS, SCHEDULES, SHORT_SCHEDULES, name
from tests.cli.test_train import STATE, same
from tests.commands import train
from tests.exact import consistency_model, four_corners
from tests.training.test_init_from import FAST

PROCESS = GaussianDiffusion(LinearSchedule(T=200, beta_1=1e-3, beta_T=0.1))


ALL_ONCE = list(zip(SHORT_SCHEDULES, cycle(PARAMETERIZATIONS), strict=False))


def sigma_of(process: GaussianDiffusion) -> Tensor:
    return ((1 - process.alpha_bar) / process.alpha_bar).sqrt()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_r_is_the_largest_step_with_no_more_than_the_share_of_the_noise(schedule: Schedule) -> None:
    process = GaussianDiffusion(schedule)
    sigma = sigma_of(process).tolist()
    for stage in (0, 2, 6, 80):
        earlier = ConsistencyLoss(stage=stage).earlier(process)
        for t in (1, 2, 50, 500, 999, 1000):
            share = 1 - (1 + 8 / (1 + math.exp(min(sigma[t], 700)))) / 2 ** (stage + 1)
            assert earlier[t] == max(r for r in range(t) if r == 0 or sigma[r] <= share * sigma[t] * (1 + 1e-12))
    assert earlier.tolist() == [0, *range(1000)]


@pytest.mark.parametrize(("schedule", "parameterization"), ALL_ONCE)
def test_the_loss_of_the_exact_consistency_function_has_a_closed_form(
    schedule: Schedule, parameterization: Parameterization
) -> None:
    """The consistency function of N(m, s²) at two points of equal x_0 and ε: f(y, σ) = m + s (y − m)/√(s² + σ²)."""
    m, s, c = 0.3, 0.5, 0.1
    process, loss = GaussianDiffusion(schedule), ConsistencyLoss(c=c, stage=2)
    x_0, eps = torch.randn(2, 50, 1, 2, 2, dtype=torch.float64)
    t = torch.arange(1, 51)
    sigma = sigma_of(process)
    ends = []
    for steps in (t, loss.earlier(process)[t]):
        level = sigma[steps].reshape(-1, 1, 1, 1)
        end = m + s * (x_0 + level * eps - m) / (s**2 + level**2).sqrt()
        ends.append(torch.where(level == 0, x_0, end))
    mean_square = (ends[0] - ends[1]).square().mean((1, 2, 3))
    expected = ((mean_square + c**2).sqrt() - c) / (sigma[t] - sigma[loss.earlier(process)[t]])
    model = consistency_model(process, parameterization, m, s)
    torch.testing.assert_close(loss(model, x_0, t, eps), expected, rtol=1e-6, atol=1e-9)


def test_it_is_zero_for_data_of_one_point() -> None:
    x_0, eps = torch.full((200, 1), 0.3, dtype=torch.float64), torch.randn(200, 1, dtype=torch.float64)
    model = consistency_model(PROCESS, X0(), m=0.3, s=0.0)
    assert float(ConsistencyLoss()(model, x_0, torch.arange(1, 201), eps).abs().max()) < 1e-12


class Gains(nn.Module):
    """x̂_0 = g_t y_t."""

    def __init__(self, g: Tensor) -> None:
        super().__init__()
        self.g = nn.Parameter(g.clone())

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return (self.g / PROCESS.alpha_bar.sqrt())[t + 1, None] * x_t


def gains_of_the_minimum(loss: ConsistencyLoss, s: float) -> Tensor:
    """For data N(0, s²), the regression of g_r y_r on y_t: g_t = g_r (s² + σ_r σ_t)/(s² + σ_t²), from g_0 = 1."""
    sigma, g = sigma_of(PROCESS), torch.ones(201, dtype=torch.float64)
    for t, r in enumerate(loss.earlier(PROCESS).tolist()):
        g[t] = g[r] * (s**2 + sigma[r] * sigma[t]) / (s**2 + sigma[t] ** 2)
    return g


@pytest.mark.parametrize("stage", [0, 3, 9])
def test_its_gradient_vanishes_at_the_regression_of_one_step_on_the_other(stage: int) -> None:
    """In expectation, and where c is so large that the loss is a square."""
    s, loss = 0.5, ConsistencyLoss(stage=stage, c=1e4)
    model = DenoisingDiffusion(Gains(gains_of_the_minimum(loss, s)), PROCESS, X0(), BetaVariance())
    t, gradients = torch.arange(1, 201), []
    for x_0, eps in zip(*four_corners(), strict=True):
        total = loss(model, (s * x_0).expand(200, 1), t, eps.expand(200, 1)).sum()
        gradients.append(torch.autograd.grad(total, model.network.parameters())[0][1:])
    found = torch.stack(gradients)
    assert float((found.mean(0).abs() / found.abs().mean(0)).max()) < 1e-6


def test_its_minimum_approaches_the_consistency_function() -> None:
    """s/√(s² + σ²) for data N(0, s²), as the steps from t to r become shorter."""
    s = 0.5
    exact = s / (s**2 + sigma_of(PROCESS) ** 2).sqrt()
    errors = [
        float((gains_of_the_minimum(ConsistencyLoss(stage=stage), s) / exact - 1).abs().max()) for stage in range(7)
    ]
    assert all(later < 0.8 * before for before, later in pairwise(errors))
    assert errors[-1] < 0.05


def test_stages_follow_the_optimizer_steps() -> None:
    loss = ConsistencyLoss(stage_steps=10, stage=2)
    assert [loss.at_step(step).stage for step in (0, 9, 10, 35)] == [2, 2, 3, 5]
    assert ConsistencyLoss().at_step(10**9).stage == 10**6
    simple = Simple()
    assert simple.at_step(10**9) is simple
    divided, unchanged = UncertaintyLoss(loss, features=3), UncertaintyLoss(simple)
    later = divided.at_step(10)
    assert isinstance(later.of, ConsistencyLoss)
    assert later.of.stage == 3
    assert later.a is divided.a
    assert unchanged.at_step(10) is unchanged


class Noise(nn.Module):
    """x̂_0 is a mask of dropout, whatever x_t is."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.scale = Dropout(0.5), nn.Parameter(torch.ones(()))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        found: Tensor = self.dropout(self.scale * torch.ones_like(x_t))
        return found


def test_both_network_calls_have_the_same_dropout_and_the_next_ones_another() -> None:
    model = DenoisingDiffusion(Noise(), PROCESS, X0(), BetaVariance()).train()
    x_0, t = torch.zeros(4, 1, 8, 8), torch.full((4,), 150)
    torch.manual_seed(0)
    assert ConsistencyLoss(stage=5)(model, x_0, t, x_0).tolist() == [0, 0, 0, 0]
    after = torch.rand(1)
    torch.manual_seed(0)
    assert after != torch.rand(1)


def test_the_weights_get_a_gradient_in_autocast() -> None:
    """Which keeps cast weights for later calls, without a gradient if the first call had none."""

    class Linear(nn.Linear):
        def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
            return super().forward(x)

    model = DenoisingDiffusion(Linear(8, 8), PROCESS, X0(), BetaVariance())
    x_0, eps = torch.randn(2, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        ConsistencyLoss(stage=5)(model, x_0, torch.full((4,), 150), eps).sum().backward()
    assert float(next(model.network.parameters()).grad.norm()) > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"q": 1.0}, r"loss\.q=1\.0 lies outside \(1, 1e\+06\]"),
        ({"k": -1.0}, r"loss\.k=-1\.0 lies outside"),
        ({"b": -1.0}, r"loss\.b=-1\.0 lies outside"),
        ({"c": 0.0}, r"loss\.c=0\.0 is not a number above 0"),
        ({"stage_steps": 0}, r"loss\.stage_steps=0 is not a whole number of at least 1"),
        ({"stage": -1}, r"loss\.stage=-1 is not a whole number of at least 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ConsistencyLoss(**options)  # type: ignore[arg-type]


def test_a_learned_variance_is_refused() -> None:
    with pytest.raises(UserError, match=r"variance=learned cannot be trained by loss=consistency"):
        ConsistencyLoss().check(LearnedVariance())


@pytest.mark.slow
def test_a_resumed_run_is_in_the_same_stage(tmp_path: Path) -> None:
    options = ["loss=consistency", "loss.stage_steps=1", "parameterization=v", "sampler=consistency", *FAST]
    source = train(tmp_path / "source", "parameterization=v", *FAST) / "checkpoints" / "last.ckpt"
    for steps in (2, 4):
        train(tmp_path / "halves", *options, f"init_from={source}", f"trainer.max_steps={steps}")
    whole = train(tmp_path / "whole", *options, f"init_from={source}")
    one, other = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (whole, tmp_path / "halves"))
    for key in STATE:
        same(one[key], other[key])
