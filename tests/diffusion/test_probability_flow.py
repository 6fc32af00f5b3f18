"""The probability flow against closed forms, SciPy and autograd: positions, densities, and prices of integers."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn
from torch.distributions import Normal

from ddpm_lightning.diffusion.dequantization import (
    DecoderDequantization,
    Dequantization,
    UniformDequantization,
)
from ddpm_lightning.diffusion.mixture import Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.probability_flow import ProbabilityFlow, every_direction, random_signs
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule, LogSNRLinearSchedule
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.diffusion.variances import BetaVariance, LearnedVariance
from ddpm_lightning.errors import UserError
from tests.choices import name
from tests.diffusion.samplers.test_samplers import best_log_variance, noise_from, random_model
from tests.diffusion.test_mixture import MEANS, S, model_of
from tests.exact import exact_model

# To an x_T that is N(0, I) to 1e-5, by steps so short that D is known between them.
PROCESS = GaussianDiffusion(LogSNRLinearSchedule(T=3000, log_snr_1=9.21, log_snr_T=-24))
SIGMA_1 = float(VarianceExploding(PROCESS).sigma[1])
M, DEVIATION = 0.3, 0.5


def gaussian_flow(num_steps: int = 100) -> ProbabilityFlow:
    return ProbabilityFlow(exact_model(PROCESS, Epsilon(), BetaVariance(), m=M, s=DEVIATION), num_steps)


def points(n: int = 20, d: int = 3) -> Tensor:
    return torch.randn(n, d, 1, 1, generator=torch.Generator().manual_seed(0)).double()


def encoded(x_0: Tensor) -> Tensor:
    """x_T of Gaussian data: in units of its deviation, a point stays where it is."""
    deviation = math.sqrt(DEVIATION**2 + SIGMA_1**2)
    scale, noise = PROCESS.alpha_bar[-1].sqrt(), 1 - PROCESS.alpha_bar[-1]
    return scale * M + (scale**2 * DEVIATION**2 + noise).sqrt() * (x_0 - M) / deviation


def test_encoding_is_the_affine_map_of_gaussian_data() -> None:
    assert torch.allclose(gaussian_flow().encode(points()), encoded(points()), atol=1e-5)


def test_the_density_of_gaussian_data_is_theirs() -> None:
    """Blurred by σ_1."""
    x_0 = points()
    found = gaussian_flow().log_density(x_0, every_direction(x_0)).mean(0)
    expected = Normal(M, math.sqrt(DEVIATION**2 + SIGMA_1**2)).log_prob(x_0).flatten(1).sum(1)
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_density_of_a_mixture_is_its_own() -> None:
    """At x_1 = √ᾱ_1 y, which makes y denser by √ᾱ_1 a dimension."""
    x_0 = MEANS.repeat(4, 1).reshape(-1, 2, 1, 1).double() + 0.15 * points(12, 2)
    one, scale = torch.ones(12, dtype=torch.int64), PROCESS.alpha_bar[1].sqrt()
    expected = Mixture(MEANS, S).log_density(PROCESS, scale * x_0, one) + 2 * scale.log()
    flow = ProbabilityFlow(model_of(Epsilon(), PROCESS), num_steps=150)
    assert torch.allclose(flow.log_density(x_0, every_direction(x_0)).mean(0), expected, atol=1e-4)


def test_on_the_papers_chain_the_density_is_right_to_some_hundredths_of_a_nat() -> None:
    """There σ_T is 157, x_T not quite N(0, I), and the first steps in log σ are long."""
    process = GaussianDiffusion(LinearSchedule())
    x_0 = MEANS.repeat(4, 1).reshape(-1, 2, 1, 1).double() + 0.15 * points(12, 2)
    one, scale = torch.ones(12, dtype=torch.int64), process.alpha_bar[1].sqrt()
    expected = Mixture(MEANS, S).log_density(process, scale * x_0, one) + 2 * scale.log()
    found = ProbabilityFlow(model_of(Epsilon(), process)).log_density(x_0, every_direction(x_0)).mean(0)
    assert torch.allclose(found, expected, atol=0.03)


def test_decoding_undoes_encoding_and_the_solver_is_of_at_least_fourth_order() -> None:
    x_0 = points()
    errors = []
    for num_steps in (32, 64, 128):
        flow = gaussian_flow(num_steps)
        x_T = flow.encode(x_0)
        errors.append(float((x_T - encoded(x_0)).abs().max()))
        assert torch.allclose(flow.decode(x_T), x_0, atol=10 * errors[-1])
    for coarse, fine in pairwise(errors):
        assert coarse / fine > 0.75 * 2**4


def test_the_solver_leads_where_that_of_scipy_does() -> None:
    model = random_model(BetaVariance())
    flow = ProbabilityFlow(model, num_steps=100)
    x_0 = torch.randn(1, 2, 4, 4, dtype=torch.float64)

    def slope(u: float, y):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            return flow.drift(torch.from_numpy(y).reshape(x_0.shape), u).flatten().numpy()

    ends, x_1 = flow.log_sigma[[0, -1]].tolist(), model.process.alpha_bar[1].sqrt() * x_0
    theirs = solve_ivp(slope, ends, x_1.flatten().numpy(), method="RK45", rtol=1e-7, atol=1e-9).y[:, -1]
    assert torch.allclose(flow.encode(x_0).flatten(), torch.from_numpy(theirs), rtol=1e-5, atol=1e-5)


def test_the_drift_is_that_of_song_et_al() -> None:
    """At the steps of the chain, and D in between on a line between them, at one y."""
    model = model_of(Epsilon(), PROCESS)
    exploding, flow, x = VarianceExploding(PROCESS), ProbabilityFlow(model), points(5, 2)
    t = torch.full((5,), 700)
    u, next_ = flow.log_sigma[699:701].tolist()
    expected = -(1 - PROCESS.alpha_bar[700]) * (x + model.score(x, t))
    assert torch.allclose(flow.drift(x, u), expected, rtol=1e-6)
    y = exploding.enter(x, t)
    between = 0.75 * flow.denoised(x, u) + 0.25 * flow.denoised(exploding.leave(y, t + 1), next_)
    middle = 0.75 * u + 0.25 * next_
    assert torch.allclose(flow.denoised(y / math.sqrt(1 + math.exp(2 * middle)), middle), between, rtol=1e-6)


def test_the_gain_is_the_trace_of_the_jacobian() -> None:
    model = random_model(BetaVariance())
    flow, u = ProbabilityFlow(model), -1.234
    x = torch.randn(2, 2, 2, 2, dtype=torch.float64)
    drift, gain = flow.drift_and_gain(x, u, every_direction(x))
    assert torch.allclose(drift, flow.drift(x, u))
    for example, found in zip(x, gain.mean(0), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda y: flow.drift(y[None], u)[0], example)
        assert found.item() == pytest.approx(jacobian.reshape(8, 8).trace().item(), rel=1e-9)


def test_random_signs_give_the_trace_without_bias() -> None:
    flow = ProbabilityFlow(random_model(BetaVariance()))
    x = torch.randn(1, 2, 2, 2, dtype=torch.float64)
    _, exact = flow.drift_and_gain(x, 0.5, every_direction(x))
    _, drawn = flow.drift_and_gain(x, 0.5, random_signs(x, 400, noise_from(2)))
    assert abs(float(drawn.mean() - exact.mean())) < 4 * float(drawn.std()) / math.sqrt(400)


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_density() -> None:
    """In batches of two sizes too, for which the compiler makes the pass back before it is asked for."""
    network = nn.Sequential(nn.Conv2d(2, 8, 1), nn.SiLU(), nn.Conv2d(8, 2, 1)).requires_grad_(False)
    network.forward = lambda x, t: nn.Sequential.forward(network, x)  # type: ignore[assignment]
    process = GaussianDiffusion(LinearSchedule(T=10))
    flow = ProbabilityFlow(DenoisingDiffusion(network, process, Epsilon(), BetaVariance()), num_steps=1)
    x_0 = points(12, 2).float()
    probes = every_direction(x_0)
    expected = flow.log_density(x_0, probes)
    network.compile(backend="aot_eager")
    found = [flow.log_density(x_0[part], probes[:, part]) for part in (slice(7), slice(7, 12))]
    torch.testing.assert_close(torch.cat(found, 1), expected)


def test_each_step_is_seen() -> None:
    seen: list[Tensor] = []
    flow = gaussian_flow(num_steps=7)
    x_T = flow.encode(points(), each_step=seen.append)
    assert len(seen) == 7
    assert torch.equal(seen[-1], x_T)
    with pytest.raises(UserError, match="num_steps of the flow=0"):
        gaussian_flow(num_steps=0)


def on_the_grid(n: int, d: int, levels: int, s: float) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    x = s * torch.randn(n, d, generator=draw, dtype=torch.float64)
    return ((x.clamp(-1, 1) + 1) / 2 * (levels - 1)).round() * 2 / (levels - 1) - 1


@pytest.mark.parametrize("dequantization", [UniformDequantization(), DecoderDequantization()], ids=name)
def test_integers_cost_what_the_best_code_asks(dequantization: Dequantization) -> None:
    """Data N(0, s²) on a grid: −log of a bin's mass is the least. Both are above it, by less than 1 % here."""
    s, levels, d = 0.25, 256, 4
    v = best_log_variance(PROCESS, s)
    model = exact_model(PROCESS, Epsilon(), LearnedVariance(), s=s, levels=levels, v=v)
    x_0 = on_the_grid(500, d, levels, s)
    y, cost = dequantization(model, x_0, noise_from(4))
    paid = cost - ProbabilityFlow(model, num_steps=30).log_density(y, every_direction(y)).mean(0)
    half, bell = 1 / (levels - 1), Normal(0.0, s)
    least = -(bell.cdf(x_0 + half) - bell.cdf(x_0 - half)).log().sum(1)
    error = float((paid - least).std()) / math.sqrt(len(x_0))
    assert -4 * error < float((paid - least).mean()) < 0.01 * float(least.mean()) + 4 * error


def test_uniform_draws_fill_the_bin_evenly() -> None:
    model = exact_model(PROCESS, Epsilon(), BetaVariance(), levels=17)
    y, cost = UniformDequantization()(model, torch.zeros(20_000, 1), torch.randn_like)
    assert y.abs().max().item() <= 1 / 16
    assert y.var().item() == pytest.approx((2 / 16) ** 2 / 12, rel=0.03)
    assert torch.allclose(cost, torch.tensor(-math.log(2 / 16)))


def test_it_asks_the_network_as_often_as_it_says() -> None:
    """For each image: at two t in each of Runge–Kutta's four stages."""
    flow, seen = gaussian_flow(num_steps=7), []
    flow.model.network.register_forward_hook(lambda _, seen_by, __: seen.append(len(seen_by[0])))
    flow.encode(points(n=20))
    assert sum(seen) == 20 * flow.calls == 20 * 8 * 7


def test_a_result_says_how_integers_were_made_real() -> None:
    model = exact_model(PROCESS, Epsilon(), BetaVariance())
    uniform, decoder = UniformDequantization(), DecoderDequantization()
    assert (uniform.label(model), uniform.origin) == ("uniform", {})
    assert (decoder.label(model), decoder.origin) == ("decoder_beta", {"clip_x_0": True})
