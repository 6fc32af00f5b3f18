"""Langevin dynamics and predictor–corrector: against Algorithm 1 in its own coordinates, diffusers, closed forms."""

import math

import pytest
import torch
from diffusers import ScoreSdeVeScheduler
from torch import Tensor

from benchmarks.mathematics.equal_calls import CALLS, SAMPLERS, Kind
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler
from ddpm_lightning.diffusion.samplers.langevin import LangevinSampler, PredictorCorrector, langevin_step
from ddpm_lightning.diffusion.samplers.spacing import QuadraticSpacing
from ddpm_lightning.diffusion.samplers.unipc import UniPC
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.diffusion.variances import BetaVariance
from ddpm_lightning.errors import UserError
from tests.diffusion.samplers.test_samplers import noise_from, random_model
from tests.exact import exact_model

PROCESS = GaussianDiffusion(LinearSchedule())


def test_langevin_is_algorithm_1_of_song_and_ermon_in_their_coordinates() -> None:
    """Written out as it stands there: x̃ is x_0 + σ_i ε, and the level changes around it. With the same draws."""
    model = random_model(BetaVariance())
    sampler = LangevinSampler(num_steps=7, spacing=QuadraticSpacing(), corrections=2, step_size=0.3, clip_x_0=False)
    chain = sampler.chain(model)
    exploding, draw = VarianceExploding(chain.process), noise_from(1)
    sigma = exploding.sigma.flip(0)[:-1]  # σ_1 > … > σ_L
    epsilon = 0.3 * sigma[-1] ** 2
    x_T = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    x = exploding.enter(x_T, torch.full((2,), 7))
    steps = sampler.trajectory(model, x_T, randn_like=noise_from(1))
    for i, step in enumerate(steps):
        t = torch.full((2,), 7 - i)
        alpha = epsilon * sigma[i] ** 2 / sigma[-1] ** 2
        for _ in range(3):
            before = x
            with torch.no_grad():
                score = exploding.score(chain, x, t)
            x = x + alpha / 2 * score + alpha.sqrt() * draw(x)
        assert step.t == 7 - i
        if step.t > 1:
            assert torch.allclose(step.x, exploding.leave(x, t - 1), rtol=1e-9), step.t
    assert torch.allclose(step.x, before + sigma[-1] ** 2 * score, rtol=1e-9)  # the last step denoises instead


def test_a_correction_is_that_of_diffusers_where_norms_are_what_they_are_on_average() -> None:
    """Of many dimensions and data that are one point, where s_θ is −ε/√(1 − ᾱ_t); in coordinates of exploding noise."""
    model = exact_model(PROCESS, Epsilon(), BetaVariance(), m=0.3, s=0.0)
    exploding, t = VarianceExploding(PROCESS), torch.full((4,), 50)
    eps = torch.randn(4, 3, 96, 96, dtype=torch.float64)
    y = exploding.q_sample(torch.full_like(eps, 0.3), t, eps)
    scheduler = ScoreSdeVeScheduler(1000, snr=0.16)
    scheduler.set_timesteps(1000)
    theirs = scheduler.step_correct(
        exploding.score(model, y, t), y, generator=torch.Generator().manual_seed(3)
    ).prev_sample
    draw = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).double()  # which they draw in float32
    ours = PredictorCorrector(snr=0.16, clip_x_0=False).correct(model, exploding.leave(y, t), t, lambda _: draw)
    moved = exploding.enter(ours, t) - y
    assert (moved - (theirs - y)).norm() / moved.norm() < 0.01


def test_a_correction_is_shorter_by_alpha_where_beta_is_large() -> None:
    """Algorithm 5 of Song et al. written out at α_20 = 0.4, of many dimensions and data that are one point."""
    process = GaussianDiffusion(LinearSchedule(T=20, beta_1=0.01, beta_T=0.6))
    model = exact_model(process, Epsilon(), BetaVariance(), m=0.3, s=0.0)
    x_0, t = torch.full((4, 3, 96, 96), 0.3, dtype=torch.float64), torch.full((4,), 20)
    x, z = process.q_sample(x_0, t, noise_from(1)(x_0)), noise_from(2)(x_0)
    score = model.score(x, t)
    epsilon = 2 * (1 - 0.6) * (0.16 * z.norm() / score.norm()) ** 2
    expected = epsilon * score + (2 * epsilon).sqrt() * z
    moved = PredictorCorrector(snr=0.16, clip_x_0=False).correct(model, x, t, lambda _: z) - x
    assert (moved - expected).norm() / expected.norm() < 0.01


@pytest.mark.parametrize("t", [1, 100, 900])
@pytest.mark.parametrize("size", [0.01, 0.2, 2.0])
def test_a_langevin_step_leaves_the_distribution_but_for_a_quarter_of_its_length_squared(t: int, size: float) -> None:
    """Of N(m, s²): x + a/2 s(x) + √a z has the variance v + a²/(4v), where x has v."""
    m, s = 0.3, 0.5
    model = exact_model(PROCESS, Epsilon(), BetaVariance(), m=m, s=s)
    alpha_bar = PROCESS.alpha_bar[t].item()
    mean, v = math.sqrt(alpha_bar) * m, alpha_bar * s**2 + 1 - alpha_bar
    x = mean + torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    moved = langevin_step(model, x, torch.tensor([t, t]), torch.full_like(PROCESS.alpha_bar, size)).reverse
    slope = float(moved.mean[1] - moved.mean[0])
    a = size * (1 - alpha_bar)
    assert moved.mean[0].item() == pytest.approx(mean, abs=1e-9)
    assert slope**2 * v + moved.log_variance.exp()[0].item() == pytest.approx(v + a**2 / (4 * v), rel=1e-9)


def moments(sampler: Sampler, model: DenoisingDiffusion) -> tuple[float, float]:
    """Mean and standard deviation of x_0, in closed form: with an exact network x_0 is a line in x_T and every draw,
    whose slopes are read off a batch in which each example has one of them at 1 and the others at 0."""
    draws = iter(range(2, 2 * sampler.calls(model)))
    x_T = torch.zeros(2 * sampler.calls(model), 1, dtype=torch.float64)
    x_T[1] = 1
    x_0 = sampler.sample(model, x_T, randn_like=lambda x: _unit(x, next(draws)))
    return x_0[0].item(), (x_0[1:] - x_0[0]).norm().item()


def _unit(like: Tensor, place: int) -> Tensor:
    unit = torch.zeros_like(like)
    unit[place] = 1
    return unit


QUADRATIC = {"spacing": QuadraticSpacing(), "clip_x_0": False}


@pytest.mark.parametrize(
    "sampler",
    [
        LangevinSampler(num_steps=100, step_size=1.0, **QUADRATIC),
        PredictorCorrector(num_steps=200, **QUADRATIC),
        PredictorCorrector(num_steps=100, corrections=3, eta=0.0, snr=0.3, **QUADRATIC),
    ],
    ids=["langevin", "eta_1", "eta_0"],
)
def test_whole_trajectory_recovers_a_gaussian(sampler: Sampler) -> None:
    mean, deviation = moments(sampler, exact_model(PROCESS, Epsilon(), BetaVariance(), m=0.2, s=0.25))
    assert mean == pytest.approx(0.2, abs=1e-3)
    assert deviation == pytest.approx(0.25, rel=0.03)


def test_more_langevin_steps_at_a_level_bring_it_nearer() -> None:
    """Too few lag behind the falling noise, and leave too wide a distribution."""
    model = exact_model(PROCESS, Epsilon(), BetaVariance(), s=0.25)
    few, more, many = (
        moments(LangevinSampler(num_steps=50, corrections=c, **QUADRATIC), model)[1] - 0.25 for c in (1, 4, 16)
    )
    assert few > 2 * more > 4 * many > 0


def test_corrections_mend_what_a_predictor_gets_wrong() -> None:
    """Ancestral sampling with β̃ loses variance where steps are few; corrections bring half of it back."""
    model = exact_model(PROCESS, Epsilon(), BetaVariance(), s=0.25)
    corrected = PredictorCorrector(num_steps=20, corrections=10, snr=0.3, **QUADRATIC)
    loss = 0.25 - moments(DDIMSampler(num_steps=20, eta=1.0, **QUADRATIC), model)[1]
    assert 0 < 0.25 - moments(corrected, model)[1] < loss / 2


class Counting(torch.nn.Module):
    """Counts how often the network is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return 0.1 * x


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [
        (LangevinSampler(num_steps=10), 100),
        (PredictorCorrector(num_steps=10, corrections=3), 40),
        (PredictorCorrector(), 2000),
        (AncestralSampler(num_steps=20), 20),
        (UniPC(num_steps=10), 10),
    ],
)
def test_network_calls_are_as_many_as_a_sampler_says(sampler: Sampler, calls: int) -> None:
    network = Counting()
    model = DenoisingDiffusion(network, PROCESS, Epsilon(), BetaVariance())
    sampler.sample(model, torch.zeros(1, 1, 1, 1), randn_like=torch.randn_like)
    assert network.calls == sampler.calls(model) == calls


@pytest.mark.parametrize("kind", SAMPLERS.values(), ids=list(SAMPLERS))
@pytest.mark.parametrize("calls", sorted({number for numbers in CALLS.values() for number in numbers}))
def test_the_race_is_at_equal_calls(kind: Kind, calls: int) -> None:
    model = DenoisingDiffusion(Counting(), PROCESS, Epsilon(), BetaVariance())
    assert kind(calls).calls(model) == calls


def test_names_tell_what_was_done() -> None:
    model = random_model(BetaVariance())
    assert LangevinSampler(num_steps=100, spacing=QuadraticSpacing()).label(model) == (
        "langevin100_quadratic_10each_step0.2"
    )
    assert PredictorCorrector(clip_x_0=False).label(model) == (
        "predictor_corrector_unclipped_eta1_1corrections_snr0.16"
    )


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (LangevinSampler, {"corrections": -1}, "corrections=-1 is not a whole number of at least 0"),
        (LangevinSampler, {"corrections": 100_000}, "corrections=100000 exceeds"),
        (LangevinSampler, {"step_size": 0.0}, r"step_size=0\.0 lies outside \(0, 2\]"),
        (LangevinSampler, {"step_size": 2.5}, r"step_size=2\.5 lies outside \(0, 2\]"),
        (PredictorCorrector, {"corrections": 0}, "without corrections it is sampler=ddim"),
        (PredictorCorrector, {"snr": 1.0}, r"snr=1\.0 lies outside \(0, 0\.7\]"),
        (PredictorCorrector, {"eta": 2.0}, r"eta=2\.0 lies outside"),
    ],
)
def test_impossible_corrections_are_refused(kind: type[Sampler], options: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        kind(**options)
