"""Guidance against closed forms: of the field on a mixture of Gaussians, and of the density that it leads to."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.conditional.classifier_free import ClassifierFreeGuidance, IntervalGuidance
from ddpm_lightning.diffusion.conditional.conditioning import NO_CLASS, ClassConditioning
from ddpm_lightning.diffusion.conditional.guidance import AutoGuidance, NoGuidance
from ddpm_lightning.diffusion.mixture import BestNetwork, Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import V
from ddpm_lightning.diffusion.probability_flow import ProbabilityFlow
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import DDIMSampler
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance, LearnedRangeVariance
from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.mlp import MLP
from tests.choices import PARAMETERIZATIONS, name
from tests.diffusion.conditional.test_conditioning import CLASSES, MIXTURE, best

PROCESS = GaussianDiffusion(LinearSchedule(T=50, beta_1=1e-3, beta_T=0.3))
X_T, T, Y = torch.randn(4, 2, 1, 1).double(), torch.tensor([1, 9, 30, 50]), torch.tensor([0, 1, 2, 0])


def log_density(mixture: Mixture, x: Tensor, t: Tensor) -> Tensor:
    alpha_bar = PROCESS.alpha_bar[t][:, None]
    variance = alpha_bar * mixture.s**2 + 1 - alpha_bar
    distance = (x[:, None] - alpha_bar.sqrt()[:, None] * mixture.means).square().sum(2)
    return (-0.5 * distance / variance - variance.log()).logsumexp(1)


def exact(scale: Tensor, weaker: Mixture) -> Tensor:
    """∇ [w log q(x_t | y) + (1 − w) log q_weaker(x_t)], by automatic differentiation."""
    x = X_T.flatten(1).clone().requires_grad_()
    parts = [Mixture(MIXTURE.means[y : y + 1], 0.1) for y in Y.tolist()]
    given = torch.cat([log_density(part, x[i : i + 1], T[i : i + 1]) for i, part in enumerate(parts)])
    ((scale * given + (1 - scale) * log_density(weaker, x, T)).sum()).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_the_guided_field_is_that_of_both_densities(scale: float, parameterization: object) -> None:
    guided = ClassifierFreeGuidance(scale).guide(best(PROCESS, parameterization).given(Y))
    expected = exact(torch.full((4,), scale), MIXTURE)
    torch.testing.assert_close(guided.score(X_T, T).flatten(1), expected, rtol=1e-6, atol=1e-6)


def test_in_an_interval_only_its_steps_are_guided() -> None:
    guided = IntervalGuidance(3.0, 9, 30).guide(best(PROCESS).given(Y))
    expected = exact(torch.tensor([1.0, 3.0, 3.0, 1.0]), MIXTURE)
    torch.testing.assert_close(guided.score(X_T, T).flatten(1), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("T", "low", "high"), [(1000, 50, 350), (100, 5, 35), (8, 1, 3), (1, 1, 1)])
def test_the_default_interval_is_a_share_of_the_chain(T: int, low: int, high: int) -> None:
    assert IntervalGuidance().for_chain(T) == IntervalGuidance(2.0, low, high)


def test_the_default_end_of_an_interval_does_not_cross_the_given_one() -> None:
    assert IntervalGuidance(t_low=500).for_chain(1000) == IntervalGuidance(2.0, 500, 500)
    assert IntervalGuidance(t_high=20).for_chain(1000) == IntervalGuidance(2.0, 20, 20)
    assert IntervalGuidance(2.0, 60, 300).for_chain(8) == IntervalGuidance(2.0, 60, 300)


def test_the_default_interval_guides_the_steps_of_its_shares() -> None:
    guided, expected = (
        each.guide(best(PROCESS).given(Y)) for each in (IntervalGuidance(3.0), IntervalGuidance(3.0, 2, 18))
    )
    for t in (1, 2, 18, 19):
        assert torch.equal(guided(X_T, torch.full((4,), t)).f, expected(X_T, torch.full((4,), t)).f)


def test_a_weaker_model_guides_away_from_itself() -> None:
    blurred = Mixture(MIXTURE.means, 0.3)
    weaker = best(PROCESS)
    weaker.network = BestNetwork(blurred, PROCESS, weaker.parameterization)
    guided = AutoGuidance(weaker, 2.0).guide(best(PROCESS))
    x = X_T.flatten(1).clone().requires_grad_()
    (2 * log_density(MIXTURE, x, T) - log_density(blurred, x, T)).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(guided.score(X_T, T).flatten(1), x.grad, rtol=1e-6, atol=1e-6)


def test_the_chain_of_a_weaker_model_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Tensor] = []
    cpu = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: compared.append(self) or cpu(self))
    guidance, model = AutoGuidance(best(PROCESS), 2.0), best(PROCESS)
    for _ in range(3):
        guidance.guide(model.given(Y))
    assert len(compared) <= 2


class Counted(nn.Module):
    """Notes the size of each batch that the network gets."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.sizes = network, list[int]()

    def forward(self, x: Tensor, t: Tensor, *y: Tensor) -> Tensor:
        self.sizes.append(len(x))
        out: Tensor = self.network(x, t, *y)
        return out


def counted(out_channels: int = 2, **options: object) -> tuple[DenoisingDiffusion, list[int]]:
    network = Counted(MLP(2, out_channels, (1, 1), width=8, depth=2, num_classes=3))
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    model = DenoisingDiffusion(network, PROCESS, V(), options.get("variance", BetaVariance()), 256, CLASSES)  # type: ignore[arg-type]
    return model, network.sizes


@pytest.mark.parametrize("guidance", [NoGuidance(), ClassifierFreeGuidance(1.0), IntervalGuidance(3.0, 10, 20)])
def test_without_effect_it_costs_nothing_and_changes_no_bit(guidance: NoGuidance) -> None:
    model, sizes = counted()
    x, t = torch.randn(4, 2, 1, 1), torch.tensor([1, 9, 21, 50])
    guided = guidance.guide(model.given(Y))
    assert torch.equal(guided(x, t).f, model.given(Y)(x, t).f)
    assert sizes == [4, 4]


def test_both_predictions_come_from_one_call_and_a_learned_variance_from_the_class() -> None:
    model, sizes = counted(4, variance=LearnedRangeVariance())
    x, t = torch.randn(4, 2, 1, 1), torch.tensor([1, 9, 21, 50])
    f, v = ClassifierFreeGuidance(3.0).guide(model.given(Y))(x, t)
    assert sizes == [8]
    given, free = model.given(Y)(x, t), model.given(torch.full((4,), NO_CLASS))(x, t)
    torch.testing.assert_close(f, free.f + 3 * (given.f - free.f))
    assert v is not None
    torch.testing.assert_close(v, given.v)


def test_a_chain_of_fewer_steps_is_guided_at_the_steps_of_training() -> None:
    guided = IntervalGuidance(3.0, 9, 30).guide(best(PROCESS).given(Y))
    coarse, t = guided.coarsen([1, 9, 30, 50]), torch.tensor([1, 2, 3, 4])
    assert torch.equal(coarse(X_T, t).f, guided(X_T, T).f)
    again = guided.with_variance(BetaTildeVariance()).given(Y).coarsen([1, 9, 30, 50])
    assert torch.equal(again(X_T, t).f, guided(X_T, T).f)
    assert again.variance == BetaTildeVariance()


@pytest.mark.parametrize(
    "scale", [pytest.param(0.0, marks=pytest.mark.slow), 1.0, pytest.param(2.0, marks=pytest.mark.slow), 4.0]
)
def test_guided_samples_of_gaussians_have_the_spread_that_the_flow_leads_to(scale: float) -> None:
    """q(x) = N(0, S²), q(x | y) = N(0, s²). With σ² the noise, the guided flow

        dx/dσ = σ [w x/(s² + σ²) + (1 − w) x/(S² + σ²)],  so  x ∝ (s² + σ²)^{w/2} (S² + σ²)^{(1−w)/2},

    which tends to the standard deviation s^w S^{1−w} from noise that σ dominates."""
    process = GaussianDiffusion(LinearSchedule(T=1000))
    s, S = 0.3, 0.8

    class TwoGaussians(nn.Module):
        def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
            variance = torch.where(y == NO_CLASS, S, s).double()[:, None, None, None] ** 2
            alpha_bar = process.alpha_bar[t + 1][:, None, None, None]
            x_0 = alpha_bar.sqrt() * variance / (alpha_bar * variance + 1 - alpha_bar) * x_t
            return V().target(process, x_0, x_t, t + 1)

    model = DenoisingDiffusion(TwoGaussians(), process, V(), BetaVariance(), 256, CLASSES)
    x_T = torch.tensor([-1.0, 1.0]).double().reshape(2, 1, 1, 1)  # the flow is linear: one point shows the scale
    guided = ClassifierFreeGuidance(scale).guide(model.given(torch.tensor([0, 0])))
    found = ProbabilityFlow(guided, num_steps=100).decode(x_T).flatten()
    signal, noise = process.alpha_bar[[1, -1]], 1 / process.alpha_bar[[1, -1]] - 1
    x = (s**2 + noise) ** (scale / 2) * (S**2 + noise) ** ((1 - scale) / 2)
    assert float(found[1]) == pytest.approx(float(x[0] / x[1] / signal[1].sqrt()), rel=1e-3)
    assert found.tolist() == pytest.approx([-(s**scale * S ** (1 - scale)), s**scale * S ** (1 - scale)], rel=0.003)
    coarse = DDIMSampler(clip_x_0=False).sample(guided, x_T, randn_like=torch.randn_like).flatten()
    assert coarse.tolist() == pytest.approx(found.tolist(), rel=0.04)  # one call a step, so of first order


def test_what_cannot_be_guided_says_why() -> None:
    model = best(PROCESS)
    with pytest.raises(UserError, match="add labels="):
        ClassifierFreeGuidance(2.0).guide(model)(X_T, T)
    for guidance, option in ((ClassifierFreeGuidance(2.0), "guidance=cfg"), (IntervalGuidance(2.0, 1, 9), "=interval")):
        plain = DenoisingDiffusion(model.network, PROCESS, model.parameterization, BetaVariance())
        with pytest.raises(UserError, match=f"{option} needs a model of classes"):
            guidance.guide(plain)
        certain = DenoisingDiffusion(
            model.network, PROCESS, model.parameterization, BetaVariance(), 256, ClassConditioning(0.0, ("a", "b"))
        )
        with pytest.raises(UserError, match=r"conditioning.dropout=0, so it knows p\(x \| y\) alone"):
            guidance.guide(certain)
    with pytest.raises(UserError, match="exceeds T=50"):
        IntervalGuidance(2.0, 51, 60).guide(model)
    with pytest.raises(UserError, match="another schedule, parameterization or classes"):
        AutoGuidance(best(GaussianDiffusion(LinearSchedule(T=50))), 2.0).guide(model)
    for wrong in (-1.0, 1001.0, float("nan")):
        with pytest.raises(UserError, match=r"^scale="):
            replace(ClassifierFreeGuidance(), scale=wrong)
    with pytest.raises(UserError, match=r"^t_high=8"):
        IntervalGuidance(2.0, 9, 8)
