"""Conditioning on classes: what the network is given, what is hidden in training, and that p(x | y) is a model."""

import math

import pytest
import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.conditional.conditioning import NO_CLASS, ClassConditioning, NoConditioning
from ddpm_lightning.diffusion.likelihood import every_term, prior_term
from ddpm_lightning.diffusion.mixture import BestNetwork, Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.probability_flow import ProbabilityFlow, every_direction
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance
from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.mlp import MLP
from ddpm_lightning.networks.unet import UNet
from tests.choices import PARAMETERIZATIONS, SHORT_SCHEDULES, name

CLASSES = ClassConditioning(class_names=("left", "right", "above"))


class Says(nn.Module):
    """Returns the classes that it is given, and 100 if there are none."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        told = torch.full((len(x),), 100) if y is None else y
        return told.to(x.dtype)[:, None, None, None].expand_as(x)


def told(model: DenoisingDiffusion, batches: int = 1) -> list[float]:
    x_t = torch.zeros(3 * batches, 1, 2, 2)
    return model(x_t, torch.full((len(x_t),), 2)).f[:, 0, 0, 0].tolist()


def test_every_view_of_a_model_is_given_its_classes() -> None:
    model = DenoisingDiffusion(Says(), GaussianDiffusion(LinearSchedule(T=9)), Epsilon(), BetaVariance(), 2, CLASSES)
    y = torch.tensor([2, 0, NO_CLASS])
    given = model.given(y)
    for view in (
        given,
        given.coarsen([2, 8]),
        model.coarsen([2, 8]).given(y),
        given.with_variance(BetaTildeVariance()),
        given.coarsen([2, 5, 8]).coarsen([1, 3]).with_variance(BetaTildeVariance()),
    ):
        assert told(view) == [2, 0, -1]
        assert told(view, batches=2) == [2, 0, -1, 2, 0, -1]
        assert view.conditioning is CLASSES
    assert told(model) == [100] * 3
    assert model.given(None) is model
    assert given.given(torch.tensor([1, 1, 1])).coarsen([2, 8]).given(y).process.T == 2


@pytest.mark.parametrize("network", [MLP, UNet], ids=["mlp", "unet"])
def test_a_network_of_classes_is_that_without_them_plus_a_row_for_each(network: type[nn.Module]) -> None:
    options = {"width": 8, "depth": 2} if network is MLP else {"channels": 8, "multipliers": (1, 2), "groups": 4}
    plain = network(1, 1, (4, 4), **options).double()
    of_classes = network(1, 1, (4, 4), **options, num_classes=3).double()
    for weight in of_classes.parameters():
        nn.init.normal_(weight, std=0.3)
    rows = of_classes.get_parameter("time.classes.weight")
    assert rows.shape == (4, 32)
    x, t, y = torch.randn(4, 1, 4, 4).double(), torch.tensor([0, 3, 5, 7]), torch.tensor([0, 1, 2, NO_CLASS])
    shared = {key: value for key, value in of_classes.state_dict().items() if key != "time.classes.weight"}
    plain.load_state_dict(shared)
    found = of_classes(x, t, y)
    for i in range(4):  # a row of the embedding is one more bias of the time embedding
        plain.load_state_dict({**shared, "time.dense_1.bias": shared["time.dense_1.bias"] + rows[y[i]]})
        torch.testing.assert_close(plain(x[i : i + 1], t[i : i + 1]), found[i : i + 1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(of_classes(x, t), of_classes(x, t, torch.full((4,), NO_CLASS)), rtol=0, atol=0)
    with pytest.raises(UserError, match="conditioning=class"):
        plain(x, t, y)


def test_training_hides_as_many_classes_as_asked() -> None:
    y, u = torch.arange(3).repeat(1000), torch.rand(3000)
    shown = ClassConditioning(dropout=0.2).in_training(y, lambda: u)
    assert shown is not None
    hidden = shown == NO_CLASS
    assert float(hidden.double().mean()) == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / 3000))
    assert torch.equal(shown[~hidden], y[~hidden])
    everything = ClassConditioning(dropout=0.0).in_training(y, lambda: u)
    assert everything is not None
    assert torch.equal(everything, y)
    assert NoConditioning().in_training(None, lambda: u) is None


@pytest.mark.parametrize("dropout", [-0.1, 1.0, "much"])
def test_a_dropout_out_of_range(dropout: float) -> None:
    with pytest.raises((UserError, TypeError), match="dropout"):
        ClassConditioning(dropout=dropout)


MIXTURE = Mixture(torch.tensor([[-0.5, 0.1], [0.4, 0.2], [0.0, -0.6]]), 0.1)


def best(process: GaussianDiffusion, parameterization: object = None) -> DenoisingDiffusion:
    made = parameterization or Epsilon()
    network = BestNetwork(MIXTURE, process, made)  # type: ignore[arg-type]
    return DenoisingDiffusion(network, process, made, BetaVariance(), 256, CLASSES)  # type: ignore[arg-type]


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
@pytest.mark.parametrize("schedule", SHORT_SCHEDULES[:2], ids=name)
def test_the_score_given_a_class_is_that_of_its_gaussian(schedule: LinearSchedule, parameterization: object) -> None:
    """∇ log N(x_t; √ᾱ_t m_y, ᾱ_t s² + 1 − ᾱ_t), and no class is the whole mixture."""
    process = GaussianDiffusion(schedule)
    x_t, t, y = torch.randn(4, 2, 1, 1).double(), torch.tensor([1, 9, 30, 50]), torch.tensor([0, 1, 2, NO_CLASS])
    score = best(process, parameterization).given(y).score(x_t, t)
    alpha_bar = process.alpha_bar[t[:3]][:, None]
    expected = (alpha_bar.sqrt() * MIXTURE.means[y[:3]] - x_t[:3].flatten(1)) / (alpha_bar * 0.01 + 1 - alpha_bar)
    torch.testing.assert_close(score[:3].flatten(1), expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(score[3:], MIXTURE.score(process, x_t[3:], t[3:]), rtol=1e-9, atol=1e-9)


def test_the_flow_given_a_class_has_its_density() -> None:
    process = GaussianDiffusion(LinearSchedule(T=400, beta_1=1e-5, beta_T=0.05))
    y = torch.tensor([0, 1, 2])
    x = (MIXTURE.means[y] + 0.1 * torch.randn(3, 2)).reshape(3, 2, 1, 1).double()
    found = ProbabilityFlow(best(process).given(y), num_steps=200).log_density(x, every_direction(x)).mean(0)
    distance = (x.flatten(1) - MIXTURE.means[y]).square().sum(1)
    expected = -0.5 * distance / 0.01 - math.log(2 * math.pi * 0.01)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_the_bound_given_the_class_saves_the_bits_of_the_class() -> None:
    """Well apart parts: −log p(x) = −log p(x | y) + log K, and a wrong class costs much more."""
    process = GaussianDiffusion(LinearSchedule(T=100, beta_1=1e-3, beta_T=0.15))
    y = torch.arange(3).repeat(100)
    x_0 = (MIXTURE.means[y] + 0.1 * torch.randn(300, 2)).reshape(300, 2, 1, 1).double()
    grid = ((x_0 + 1) * 127.5).round() / 127.5 - 1

    def bits(model: DenoisingDiffusion) -> float:
        draws = torch.Generator().manual_seed(0)
        noise = lambda x: torch.randn(x.shape, generator=draws, dtype=x.dtype)  # noqa: E731
        terms = sum(measured.term for measured in every_term(model, grid, randn_like=noise, clip_x_0=False))
        return float((prior_term(model, grid) + terms).mean())

    model = best(process)
    unknown, known, wrong = bits(model), bits(model.given(y)), bits(model.given((y + 1) % 3))
    assert unknown - known == pytest.approx(math.log2(3) / 2, abs=0.05)
    assert wrong > unknown + 1
