"""Objectives against the paper's equations and against each other."""

import math
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.losses import (
    ELBO,
    P2,
    VDM,
    Hybrid,
    InputPerturbation,
    Loss,
    MinSNR,
    Simple,
    SquaredError,
    TruncatedSNR,
)
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon, Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule, Schedule
from ddpm_lightning.diffusion.timesteps import epsilon_weight
from ddpm_lightning.diffusion.variances import (
    BetaTildeVariance,
    BetaVariance,
    LearnedRangeVariance,
    LearnedVariance,
    Variance,
)
from ddpm_lightning.errors import UserError
from tests.choices import FIXED_VARIANCES, PARAMETERIZATIONS, SHORT_SCHEDULES, name
from tests.exact import exact_model

LINEAR = LinearSchedule()


class Zero(nn.Module):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)


def silent(variance: Variance) -> DenoisingDiffusion:
    """ε_θ ≡ 0."""
    return DenoisingDiffusion(Zero(), GaussianDiffusion(LINEAR), Epsilon(), variance)


def draw(T: int, start: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """x_0, t, ε for every t of start..T; two pixels of one channel, on the grid of 256 levels, float64."""
    t = torch.arange(start, T + 1)
    x_0 = torch.randint(0, 256, (len(t), 1, 1, 2)).double() / 127.5 - 1
    return x_0, t, torch.randn(len(t), 1, 1, 2, dtype=torch.float64)


def test_simple_is_eq_14() -> None:
    x_0, t, eps = draw(1000)
    assert torch.allclose(Simple()(silent(BetaVariance()), x_0, t, eps), eps.square().mean((1, 2, 3)), rtol=1e-9)


def test_elbo_of_fixed_variance_is_eq_12_and_a_constant() -> None:
    """The KL of Eq. 8 = w_t ‖ε − ε_θ‖² + the two variances' own divergence, w_t from Eq. 12 with σ² = β."""
    model = silent(BetaVariance())
    x_0, t, eps = draw(1000, start=2)
    process = model.process
    ratio = (process.beta_tilde / process.beta)[t]
    constant = 0.5 * 2 * (ratio - 1 - ratio.log())
    nats = epsilon_weight(process)[t] * eps.square().sum((1, 2, 3)) + constant
    assert torch.allclose(ELBO()(model, x_0, t, eps), nats / (2 * math.log(2)), rtol=1e-9)


@pytest.mark.parametrize(("variance", "bits"), [(BetaVariance(), 13.99148), (BetaTildeVariance(), 14.67292)])
def test_bound_of_a_silent_network(variance: Variance, bits: float) -> None:
    """ε_θ ≡ 0: Σ_{t>1} L_{t−1} has a closed form. ε = ±1 has the second moment of N(0, 1), and the KL is quadratic."""
    _, t, _ = draw(1000, start=2)
    x_0, eps = torch.zeros(999, 1, 1, 2).double(), torch.ones(999, 1, 1, 2).double()
    assert ELBO()(silent(variance), x_0, t, eps).sum().item() == pytest.approx(bits, abs=1e-5)


@pytest.mark.parametrize("schedule", SHORT_SCHEDULES, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_vdm_is_the_bound_with_beta_tilde(schedule: Schedule, parameterization: Parameterization) -> None:
    """½(SNR(t−1) − SNR(t)) is what the KL with σ² = β̃ gives ‖x_0 − x̂_0‖², in every parameterization, at every t."""
    model = exact_model(GaussianDiffusion(schedule), parameterization, BetaTildeVariance(), m=0.2, s=0.4)
    x_0, t, eps = draw(schedule.T)
    assert torch.allclose(VDM()(model, x_0, t, eps), ELBO()(model, x_0, t, eps), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", [VDM(), ELBO()], ids=name)
def test_the_decoder_is_integrated_where_a_t_is_1_alone(loss: Loss) -> None:
    model = silent(BetaTildeVariance())
    with patch.object(Gaussian, "discretized_nll", side_effect=Gaussian.discretized_nll, autospec=True) as integrated:
        x_0, t, eps = draw(5, start=2)
        loss(model, x_0, t, eps)
        assert integrated.call_count == 0
        loss(model, x_0, t - 1, eps)
        assert integrated.call_count == 1


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_vdm_is_the_bound_on_a_coarse_chain_too(parameterization: Parameterization) -> None:
    process = GaussianDiffusion(LINEAR)
    coarse = exact_model(process, parameterization, BetaTildeVariance(), s=0.4).coarsen([1, 20, 300, 1000])
    x_0, t, eps = draw(4)
    assert torch.allclose(VDM()(coarse, x_0, t, eps), ELBO()(coarse, x_0, t, eps), rtol=1e-6)


@pytest.mark.parametrize("variance", FIXED_VARIANCES, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_bound_does_not_depend_on_the_parameterization(parameterization: Parameterization, variance: Variance) -> None:
    process = GaussianDiffusion(LINEAR)
    x_0, t, eps = draw(1000)
    ours = ELBO()(exact_model(process, parameterization, variance, s=0.5), x_0, t, eps)
    assert torch.allclose(ours, ELBO()(exact_model(process, Epsilon(), variance, s=0.5), x_0, t, eps), rtol=1e-6)


WEIGHTED = [
    (MinSNR(gamma=5.0), lambda snr: torch.where(snr < 5, snr, 5.0)),
    (TruncatedSNR(), lambda snr: torch.where(snr > 1, snr, 1.0)),
    (P2(k=0.5, gamma=1.5), lambda snr: snr / (0.5 + snr).pow(1.5)),
]
"""A loss, and its weight of (x_0 − x̂_0)² by SNR."""


@pytest.mark.parametrize(("loss", "weight"), WEIGHTED, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_weights_of_the_error_of_x_0(
    loss: SquaredError, weight: Callable[[Tensor], Tensor], parameterization: Parameterization
) -> None:
    model = exact_model(GaussianDiffusion(LINEAR), parameterization, BetaVariance(), s=0.5)
    x_0, t, eps = draw(1000)
    x_0_hat = model.predict_x_0(model.process.q_sample(x_0, t, eps), t)
    snr = model.process.alpha_bar[t] / (1 - model.process.alpha_bar[t])
    expected = weight(snr) * (x_0 - x_0_hat).square().mean((1, 2, 3))
    assert torch.allclose(loss(model, x_0, t, eps), expected, rtol=1e-6)


@pytest.mark.parametrize(("loss", "weight"), WEIGHTED, ids=name)
def test_weights_of_the_error_of_epsilon(loss: SquaredError, weight: Callable[[Tensor], Tensor]) -> None:
    """min(SNR, γ)/SNR (Hang et al., 2023, Eq. 9), max(1, 1/SNR), (k + SNR)^−γ (Choi et al., 2022, Eq. 8)."""
    model = silent(BetaVariance())
    x_0, t, eps = draw(1000)
    snr = model.process.snr[t]
    assert torch.allclose(loss(model, x_0, t, eps), weight(snr) / snr * eps.square().mean((1, 2, 3)), rtol=1e-9)
    assert loss.weight(model)[0] == 0


class Learns(nn.Module):
    """f and v are one parameter each."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.v = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(-0.2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([self.f.expand_as(x), self.v.expand_as(x)], dim=1)


@pytest.mark.parametrize("variance", [LearnedVariance(), LearnedRangeVariance()], ids=name)
def test_hybrid_trains_the_mean_by_the_error_alone_and_the_variance_by_the_bound_alone(variance: Variance) -> None:
    network = Learns()
    model = DenoisingDiffusion(network, GaussianDiffusion(LINEAR), Epsilon(), variance)
    x_0, t, eps = (part.float() if part.is_floating_point() else part for part in draw(1000))

    def gradients(loss: Loss) -> tuple[Tensor, Tensor]:
        return torch.autograd.grad(loss(model, x_0, t, eps).mean(), (network.f, network.v))  # type: ignore[return-value]

    (hybrid_f, hybrid_v), (simple_f, simple_v) = gradients(Hybrid(vlb_weight=0.001)), gradients(Simple())
    _, elbo_v = gradients(ELBO())
    assert simple_v == 0
    assert torch.allclose(hybrid_f, simple_f)
    assert torch.allclose(hybrid_v, 0.001 * 1000 * elbo_v, rtol=1e-4)


def test_every_loss_gives_one_number_an_example() -> None:
    model = exact_model(GaussianDiffusion(LINEAR), Epsilon(), BetaVariance())
    x_0, t, eps = draw(1000)
    for loss in (Simple(), ELBO(), VDM(), MinSNR(), TruncatedSNR(), P2()):
        together, alone = loss(model, x_0, t, eps), loss(model, x_0[6:7], t[6:7], eps[6:7])
        assert together.shape == (1000,)
        assert together[6].item() == pytest.approx(alone.item())


@pytest.mark.parametrize("loss", [Simple(), VDM(), MinSNR(), TruncatedSNR(), P2()], ids=name)
def test_squared_errors_refuse_a_learned_variance(loss: Loss) -> None:
    loss.check(BetaVariance())
    with pytest.raises(UserError, match="variance=learned_range cannot be trained by a squared error"):
        loss.check(LearnedRangeVariance())


def test_hybrid_refuses_a_fixed_variance() -> None:
    Hybrid().check(LearnedVariance())
    with pytest.raises(UserError, match="variance=beta_tilde is fixed"):
        Hybrid().check(BetaTildeVariance())


def test_elbo_takes_every_variance() -> None:
    for variance in (*FIXED_VARIANCES, LearnedVariance(), LearnedRangeVariance()):
        ELBO().check(variance)


def test_weights_must_be_positive() -> None:
    with pytest.raises(UserError, match="gamma=0"):
        MinSNR(gamma=0.0)
    with pytest.raises(UserError, match=r"loss\.k=0"):
        P2(k=0.0)
    with pytest.raises(UserError, match=r"loss\.gamma=-1"):
        P2(gamma=-1.0)
    with pytest.raises(UserError, match=r"loss\.vlb_weight=-1"):
        Hybrid(vlb_weight=-1.0)


class Noted(TorchDispatchMode):
    """Notes when the device is asked about some numbers, and when Python waits for the answer."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self.notes = notes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kinds = {"aten.any": "asked", "aten._local_scalar_dense": "answered", "aten.is_nonzero": "answered"}
        self.notes += [kind for name, kind in kinds.items() if name == str(func.overloadpacket)]
        return func(*args, **(kwargs or {}))


class Noting(nn.Module):
    """ε_θ ≡ 0, and a learned Σ_θ; notes when it is called."""

    def __init__(self, notes: list[str], channels: int) -> None:
        super().__init__()
        self.notes, self.channels = notes, channels

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.notes.append("called")
        return x.new_zeros(len(x), self.channels, *x.shape[2:])


BOUNDS = [(VDM(), BetaTildeVariance(), 1), (ELBO(), BetaVariance(), 1), (Hybrid(), LearnedRangeVariance(), 2)]


@pytest.mark.parametrize(("loss", "variance", "channels"), BOUNDS, ids=["vdm", "elbo", "hybrid"])
@pytest.mark.parametrize("start", [1, 2])
def test_a_gpu_has_the_network_call_to_work_on_while_python_waits_for_its_answer(
    loss: Loss, variance: Variance, channels: int, start: int
) -> None:
    """Whether some t is 1. The decoder is computed in that case alone."""
    notes: list[str] = []
    model = DenoisingDiffusion(Noting(notes, channels), GaussianDiffusion(LINEAR), Epsilon(), variance)
    x_0, t, eps = draw(3, start)
    decoder = patch.object(Gaussian, "discretized_nll", autospec=True, side_effect=Gaussian.discretized_nll)
    with Noted(notes), decoder as decoded:
        loss(model, x_0, t, eps)
    assert notes == ["asked", "called", "answered"]
    assert decoded.called == (start == 1)


class Seen(nn.Module):
    """ε_θ ≡ 0; keeps its input."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.x = x
        return torch.zeros_like(x)


def test_input_perturbation_gives_x_t_more_noise_than_its_target_has() -> None:
    """The network sees N(√ᾱ_t x_0, (1 + γ²)(1 − ᾱ_t) I), and its target is ε."""
    network, loss = Seen(), InputPerturbation(gamma=0.5)
    model = DenoisingDiffusion(network, GaussianDiffusion(LINEAR), Epsilon(), BetaVariance())
    n, x_0 = 200_000, torch.tensor([0.7, -0.2])
    for step in (1, 300, 1000):
        noise = loss.draw(n, (2,), torch.Generator().manual_seed(step))
        found = loss(model, x_0.expand(n, 2), torch.full((n,), step), noise)
        alpha_bar = model.process.alpha_bar[step].float()
        std = (1.25 * (1 - alpha_bar)).sqrt()
        assert torch.allclose(network.x.mean(0), alpha_bar.sqrt() * x_0, atol=4 * float(std) / n**0.5)
        assert torch.allclose(network.x.std(0), std, rtol=0.01)
        assert torch.allclose(found, noise[:, 0].square().mean(1), rtol=1e-3, atol=1e-5)


def test_input_perturbation_of_nothing_is_the_simple_loss() -> None:
    model, x_0, t = exact_model(GaussianDiffusion(LINEAR), Epsilon(), BetaVariance()), *draw(1000)[:2]
    ours, theirs = InputPerturbation(gamma=0.0), Simple()
    noise, eps = (loss.draw(1000, (1, 1, 2), torch.Generator().manual_seed(0)).double() for loss in (ours, theirs))
    assert torch.equal(noise[:, 0], eps)
    assert torch.equal(ours(model, x_0, t, noise), theirs(model, x_0, t, eps))
    with pytest.raises(UserError, match=r"loss\.gamma=-1"):
        InputPerturbation(gamma=-1.0)
