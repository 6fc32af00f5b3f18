"""ΠGDM against closed forms: on Gaussian data it is exact; on a mixture, near the posterior."""

import math

import pytest
import torch
from torch import Tensor

from ddpm_lightning.diffusion.mixture import BestNetwork, Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon, Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.restoration.measurements import AveragePooling, LinearMeasurement, Mask
from ddpm_lightning.diffusion.restoration.pseudoinverse import PseudoinverseGuidance
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, HeunSampler, Sampler, UniPC
from ddpm_lightning.diffusion.schedules import LinearSchedule, Schedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance, LearnedVariance
from ddpm_lightning.errors import UserError
from tests.choices import FEW_SHORT_SCHEDULES, PARAMETERIZATIONS, name
from tests.commands import slow
from tests.exact import exact_model

M, S = 0.3, 0.5
HALF = Mask(torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2).double())
MEASUREMENTS = [AveragePooling(2), HALF]


def matrix_of(measurement: LinearMeasurement) -> Tensor:
    """H as a matrix, from its columns."""
    units = torch.eye(4, dtype=torch.float64).reshape(4, 1, 2, 2)
    return measurement(units).flatten(1).T


def posterior(measurement: LinearMeasurement, y: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x_0 ~ N(M, S² I) given y, by the formula for joint Gaussians."""
    H = matrix_of(measurement)
    H = H[H.abs().sum(1) > 0]
    gain = S**2 * H.T @ (S**2 * H @ H.T + noise**2 * torch.eye(len(H), dtype=torch.float64)).inverse()
    seen = y.flatten() if len(H) == y.numel() else y.flatten()[: len(H)]
    mean = M + gain @ (seen - H @ torch.full((4,), M, dtype=torch.float64))
    return mean, S**2 * (torch.eye(4, dtype=torch.float64) - gain @ H)


def y_of(measurement: LinearMeasurement) -> Tensor:
    return measurement(torch.tensor([0.9, -0.4, 0.2, 0.7], dtype=torch.float64).reshape(1, 1, 2, 2))


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=name)
def test_the_rows_are_orthogonal_and_of_the_length_that_it_says(measurement: LinearMeasurement) -> None:
    H = matrix_of(measurement)
    H = H[H.abs().sum(1) > 0]
    assert torch.allclose(H @ H.T, measurement.gain * torch.eye(len(H), dtype=torch.float64))


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
@pytest.mark.parametrize("schedule", FEW_SHORT_SCHEDULES, ids=name)
def test_on_gaussian_data_x_0_hat_is_the_mean_given_x_t_and_y(
    measurement: LinearMeasurement, parameterization: Parameterization, schedule: Schedule
) -> None:
    """At every t, with and without noise: E[x_0 | x_t, y], where x_t is a second measurement with noise 1 − ᾱ_t."""
    process, y = GaussianDiffusion(schedule), y_of(measurement)
    model = exact_model(process, parameterization, BetaVariance(), M, S)
    t = torch.arange(1, schedule.T + 1)
    x_t = torch.randn(schedule.T, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    for noise in (0.0, 0.3):
        task = PseudoinverseGuidance(measurement=measurement, y=y, noise=noise, sigma_data=S)
        found = task.guide(model).predict_x_0(x_t, t)
        mean, covariance = posterior(measurement, y, noise)
        alpha_bar = process.alpha_bar[t].reshape(-1, 1, 1)
        total = alpha_bar * covariance + (1 - alpha_bar) * torch.eye(4, dtype=torch.float64)
        missing = x_t.flatten(1) - alpha_bar[:, 0].sqrt() * mean
        expected = mean + alpha_bar[:, 0].sqrt() * (covariance @ torch.linalg.solve(total, missing[..., None]))[..., 0]
        assert torch.allclose(found.flatten(1), expected, atol=1e-8)


FINE = GaussianDiffusion(LinearSchedule(T=400, beta_1=2.5e-4, beta_T=0.05))
POOLED = PseudoinverseGuidance(measurement=AveragePooling(2), y=y_of(AveragePooling(2)), noise=0.2, sigma_data=S)


def sampled(sampler: Sampler, x_T: Tensor, draws: torch.Generator | None = None) -> Tensor:
    """x_0 given POOLED, flat."""
    model = exact_model(FINE, Epsilon(), BetaTildeVariance(), M, S)
    noise = lambda x: torch.randn(x.shape, generator=draws).double()  # noqa: E731
    return POOLED.sample(model, sampler, x_T.reshape(-1, 1, 2, 2), randn_like=noise).flatten(1)


@pytest.mark.parametrize(
    "sampler",
    [
        DDIMSampler(num_steps=None, clip_x_0=False),
        *slow(UniPC(num_steps=50, clip_x_0=False), HeunSampler(num_steps=50, clip_x_0=False)),
    ],
    ids=name,
)
def test_the_flow_leads_to_the_mean_and_covariance_of_the_posterior(sampler: Sampler) -> None:
    """x_0 is affine in x_T, so 0 and the unit vectors tell the map and with it both moments."""
    at_0, *at_units = sampled(sampler, torch.cat([torch.zeros(1, 4), torch.eye(4)]).double())
    slopes = torch.stack(at_units, 1) - at_0[:, None]
    mean, covariance = posterior(POOLED.measurement, POOLED.y, POOLED.noise)
    assert torch.allclose(at_0, mean, atol=0.003)
    assert torch.allclose(slopes @ slopes.T, covariance, atol=0.006)


def test_ancestral_sampling_draws_from_the_posterior() -> None:
    n, draws = 4000, torch.Generator().manual_seed(0)
    x_0 = sampled(AncestralSampler(clip_x_0=False), torch.randn(n, 4, generator=draws).double(), draws)
    mean, covariance = posterior(POOLED.measurement, POOLED.y, POOLED.noise)
    assert torch.allclose(x_0.mean(0), mean, atol=4 * S / math.sqrt(n))
    assert torch.allclose(x_0.T.cov(), covariance, atol=4 * S**2 * math.sqrt(2 / n))


def test_on_a_mixture_samples_are_near_the_posterior() -> None:
    """Two of three parts fit what is known. The hidden coordinate has their means and shares."""
    means, s = torch.tensor([[-0.6, -0.5], [0.6, 0.5], [0.5, -0.3]]), 0.2
    process = GaussianDiffusion(LinearSchedule(T=100, beta_1=1e-3, beta_T=0.2))
    model = DenoisingDiffusion(
        BestNetwork(Mixture(means, s), process, Epsilon()), process, Epsilon(), BetaTildeVariance()
    )
    known, image = (torch.tensor(v).reshape(1, 2, 1, 1).double() for v in ([1.0, 0.0], [0.55, 0.0]))
    draws = torch.Generator().manual_seed(0)
    x_T = torch.randn(1500, 2, 1, 1, generator=draws).double()
    x_0 = PseudoinverseGuidance(measurement=Mask(known), y=image, sigma_data=0.5).sample(
        model,
        AncestralSampler(clip_x_0=False),
        x_T,
        randn_like=lambda x: torch.randn(x.shape, generator=draws).double(),
    )
    share = (-(0.55 - means[:, 0]).square() / (2 * s**2)).softmax(0)
    mean = (share * means[:, 1]).sum()
    deviation = (s**2 + (share * means[:, 1].square()).sum() - mean**2).sqrt()
    assert torch.allclose(x_0[:, 0], image[:, 0], atol=0.01)
    assert x_0[:, 1].mean().item() == pytest.approx(mean.item(), abs=0.06)
    assert x_0[:, 1].std().item() == pytest.approx(deviation.item(), rel=0.08)


def test_a_learned_variance_is_kept_and_no_gradient_is_left() -> None:
    process = GaussianDiffusion(LinearSchedule(T=20, beta_1=1e-3, beta_T=0.3))
    v = process.log_beta.clone()
    model, y = exact_model(process, Epsilon(), LearnedVariance(), M, S, v=v), y_of(HALF)
    guided = PseudoinverseGuidance(measurement=HALF, y=y, sigma_data=S).guide(model)
    x_t, t = torch.randn(3, 1, 2, 2).double(), torch.tensor([1, 10, 20])
    with torch.no_grad():
        found = guided.denoise(x_t, t)
    assert torch.equal(found.reverse.log_variance, at(v, t, x_t).expand_as(x_t))
    assert not found.x_0_hat.requires_grad
    assert not x_t.requires_grad


def test_each_image_has_its_own_measurement() -> None:
    y, known = torch.rand(3, 1, 2, 2), (torch.rand(2, 1, 2, 2) < 0.5).float()
    task = PseudoinverseGuidance(measurement=Mask(known), y=y).of(range(2, 6))
    assert torch.equal(task.y, y[[2, 0, 1, 2]])
    assert torch.equal(task.given["known"], known[[0, 1, 0, 1]])


def test_bounds() -> None:
    with pytest.raises(UserError, match="noise=-1"):
        PseudoinverseGuidance(measurement=HALF, y=y_of(HALF), noise=-1)
    with pytest.raises(UserError, match="sigma_data=0"):
        PseudoinverseGuidance(measurement=HALF, y=y_of(HALF), sigma_data=0)
    with pytest.raises(UserError, match="factor=0"):
        AveragePooling(0)
