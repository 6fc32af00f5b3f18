"""The loss that learns the weight of each step: its optimum, its gradient, and its parameters in a run."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.losses import ELBO, Loss, Simple, UncertaintyLoss
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaVariance, LearnedVariance
from ddpm_lightning.errors import UserError
from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.cli.test_train import STATE, losses, same
from tests.commands import results, train
from tests.training.test_init_from import FAST

T = 6


class Given(Loss):
    """Losses that the test gives, by example."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __call__(self, model: DenoisingDiffusion, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return self.values


class Slope(nn.Module):
    """ε̂ = slope · x."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.slope * x


def new_model() -> DenoisingDiffusion:
    return DenoisingDiffusion(Slope(), GaussianDiffusion(LinearSchedule(T=T)), Epsilon(), BetaVariance())


def test_the_best_u_is_the_logarithm_of_the_mean_loss_at_each_step() -> None:
    t = torch.arange(1, T + 1).repeat(50)
    values = torch.rand(len(t), dtype=torch.float64) * torch.logspace(-3, 3, T, dtype=torch.float64)[t - 1]
    loss, model = UncertaintyLoss(Given(values), features=T).double(), new_model()
    exact = {"tolerance_grad": 1e-13, "tolerance_change": 1e-16, "line_search_fn": "strong_wolfe"}
    solver = torch.optim.LBFGS(loss.parameters(), max_iter=2000, **exact)  # type: ignore[arg-type]
    x = torch.zeros(len(t), 1, dtype=torch.float64)

    def mean() -> Tensor:
        solver.zero_grad()
        found: Tensor = loss(model, x, t, x).mean()
        found.backward()
        return found

    solver.step(mean)  # type: ignore[arg-type]
    steps = torch.arange(1, T + 1)
    expected = torch.stack([values[t == step].mean().log() for step in steps])
    torch.testing.assert_close(loss.u(model.process, steps).detach(), expected, rtol=1e-5, atol=1e-5)


def test_the_network_is_trained_by_the_loss_divided_by_its_mean() -> None:
    model, x_0, eps = new_model(), *torch.randn(2, 64, 3, dtype=torch.float64)
    t = torch.randint(1, T + 1, (64,))
    loss = UncertaintyLoss(Simple(), features=5).double()
    nn.init.normal_(loss.a)
    u = loss.u(model.process, t).detach()
    (ours,) = torch.autograd.grad(loss(model, x_0, t, eps).sum(), model.network.parameters())
    (theirs,) = torch.autograd.grad((Simple()(model, x_0, t, eps) / u.exp()).sum(), model.network.parameters())
    torch.testing.assert_close(ours, theirs)


def test_at_first_it_is_the_loss_itself() -> None:
    model, x_0, eps = new_model(), *torch.randn(2, 8, 3, dtype=torch.float64)
    t = torch.randint(1, T + 1, (8,))
    assert torch.equal(UncertaintyLoss(Simple())(model, x_0, t, eps), Simple()(model, x_0, t, eps))


def test_it_takes_the_variances_and_the_network_loss_of_what_it_divides() -> None:
    UncertaintyLoss(ELBO()).check(LearnedVariance())
    with pytest.raises(UserError, match="variance=learned cannot be trained by a squared error"):
        UncertaintyLoss(Simple()).check(LearnedVariance())
    assert isinstance(UncertaintyLoss(ELBO()).of_network, ELBO)
    with pytest.raises(UserError, match=r"loss\.features=0"):
        UncertaintyLoss(Simple(), features=0)


OPTIONS = [*FAST, "loss=uncertainty", "loss@loss.of=input_perturbation"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), *OPTIONS)


def test_its_parameters_are_trained_and_saved_but_not_averaged(run: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert checkpoint["state_dict"]["loss.a"].abs().min() > 0
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(checkpoint["ema"]) + 1
    assert not [name for name in checkpoint["ema"] if "loss" in name]


def test_a_resumed_run_and_a_divided_batch_learn_the_same(run: Path, tmp_path: Path) -> None:
    """To the last bit when resumed. So ξ is drawn by its place in the batch, as ε is."""
    train(tmp_path / "halves", *OPTIONS, "trainer.max_steps=2")
    train(tmp_path / "halves", *OPTIONS)
    whole, halves = (read_checkpoint(each / "checkpoints" / "last.ckpt") for each in (run, tmp_path / "halves"))
    for key in STATE:
        same(whole[key], halves[key], key)
    divided = train(tmp_path / "divided", *OPTIONS, "trainer.accumulate_grad_batches=2")
    assert losses(divided) == pytest.approx(losses(run), rel=1e-5)


@pytest.mark.slow
def test_two_processes_learn_the_u_of_one(run: Path, tmp_path: Path) -> None:
    both = train(tmp_path, *OPTIONS, "trainer=ddp_cpu")
    assert losses(both) == pytest.approx(losses(run), rel=1e-5)
    ours, theirs = (read_checkpoint(each / "checkpoints" / "last.ckpt")["state_dict"]["loss.a"] for each in (run, both))
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-6)
    assert results(both)["metrics"].keys() == results(run)["metrics"].keys()
