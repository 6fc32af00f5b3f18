"""RePaint against diffusers and closed forms: its steps, the known pixels, and the mean of the hidden ones."""

import itertools
from collections import Counter

import pytest
import torch
from diffusers import RePaintScheduler
from torch import Tensor, nn

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon, Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.restoration.repaint import RePaint
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, HeunSampler, Sampler, UniPC
from ddpm_lightning.diffusion.schedules import CosineSchedule, LinearSchedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance, LearnedVariance
from ddpm_lightning.errors import UserError
from tests.choices import PARAMETERIZATIONS, name
from tests.commands import slow
from tests.diffusion.samplers.test_samplers import best_log_variance, random_model
from tests.exact import exact_model
from tests.peers import in_float64

COVARIANCE = torch.tensor([[0.25, 0.2], [0.2, 0.25]], dtype=torch.float64)
KNOWN = torch.tensor([1.0, 0.0], dtype=torch.float64).reshape(1, 2, 1, 1)
IMAGE = torch.tensor([0.5, 0.0], dtype=torch.float64).reshape(1, 2, 1, 1)
MEAN = 0.4
"""E[hidden | known = 0.5] = 0.2/0.25 · 0.5."""


class TwoPixels(nn.Module):
    """The exact network for data N(0, COVARIANCE) of two pixels."""

    def __init__(self, process: GaussianDiffusion, parameterization: Parameterization) -> None:
        super().__init__()
        self.process, self.parameterization = process, parameterization

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        t = t + 1
        x_t = x_t / self.parameterization.network_input(self.process, torch.ones_like(x_t), t)
        alpha_bar = self.process.alpha_bar[t[0]]
        total = alpha_bar * COVARIANCE + (1 - alpha_bar) * torch.eye(2, dtype=torch.float64)
        gain = alpha_bar.sqrt() * COVARIANCE @ total.inverse()
        x_0 = (x_t.flatten(1) @ gain.T).reshape(x_t.shape)
        return self.parameterization.target(self.process, x_0, x_t, t)


def two_pixels(T: int, parameterization: Parameterization) -> DenoisingDiffusion:
    process = GaussianDiffusion(CosineSchedule(T=T))
    return DenoisingDiffusion(TwoPixels(process, parameterization), process, parameterization, BetaTildeVariance())


def mean_of_hidden(model: DenoisingDiffusion, repeats: int, jump: int = 1, sampler: Sampler | None = None) -> float:
    """Every step is linear, so the walk without noise is the mean of all walks."""
    task = RePaint(image=IMAGE, known=KNOWN, repeats=repeats, jump=jump)
    sampler = sampler or AncestralSampler(clip_x_0=False)
    return task.sample(model, sampler, torch.zeros_like(IMAGE), randn_like=torch.zeros_like)[0, 1].item()


def test_repeats_lead_to_the_posterior_mean() -> None:
    """The more repeats and the finer the chain, the nearer. Without repeats, it is far off."""
    walks = [(20, 1), (20, 4), (20, 12), (60, 12)]
    errors = [MEAN - mean_of_hidden(two_pixels(T, Epsilon()), repeats) for T, repeats in walks]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.15
    assert errors[-1] == pytest.approx(0, abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
@pytest.mark.parametrize("sampler", [AncestralSampler(clip_x_0=False), DDIMSampler(num_steps=None, clip_x_0=False)])
def test_whatever_the_network_predicts(parameterization: Parameterization, sampler: Sampler) -> None:
    model = two_pixels(100, parameterization)
    assert mean_of_hidden(model, repeats=20, sampler=sampler) == pytest.approx(MEAN, abs=0.04)


def test_hidden_pixels_that_the_known_ones_say_nothing_of_follow_the_data() -> None:
    """Independent pixels N(0.2, 0.5²): their mean and deviation are those of the data, and known ones are kept."""
    process = GaussianDiffusion(LinearSchedule(T=100, beta_1=1e-3, beta_T=0.2))
    model = exact_model(process, Epsilon(), LearnedVariance(), m=0.2, s=0.5, v=best_log_variance(process, 0.5))
    x_T = torch.randn(4000, 2, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    task, noise = RePaint(image=IMAGE, known=KNOWN, repeats=3), torch.Generator().manual_seed(1)
    x_0 = task.sample(
        model,
        AncestralSampler(clip_x_0=False),
        x_T,
        randn_like=lambda x: torch.randn(x.shape, generator=noise, dtype=x.dtype),
    )
    assert (x_0[:, 0] == 0.5).all()
    assert x_0[:, 1].mean().item() == pytest.approx(0.2, abs=0.03)
    assert x_0[:, 1].std().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("repeats", "jump"), [(1, 1), (3, 1), *slow((4, 2), (2, 5))])
def test_the_walk_is_diffusers(repeats: int, jump: int) -> None:
    """The same steps, with one noise for all draws, which theirs reuses within a step."""
    model, T = random_model(BetaVariance(), T=20), 20
    sampler = DDIMSampler(num_steps=None, eta=1.0, clip_x_0=False)
    theirs = in_float64(RePaintScheduler(T, beta_schedule="linear", eta=1.0, clip_sample=False))
    theirs.set_timesteps(T)
    image, x_T = torch.randn(2, 2, 4, 4).double().clamp(-1, 1), torch.randn(2, 2, 4, 4).double()
    noise, known = torch.randn(2, 2, 4, 4).double(), (torch.rand(1, 1, 4, 4) < 0.5).double().expand(1, 2, 4, 4)
    task, x, before = RePaint(image=image, known=known, repeats=repeats, jump=jump), x_T, T + 1
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusers.schedulers.scheduling_repaint.randn_tensor", lambda *_, **__: noise)
        for step in task.trajectory(model, sampler, x_T, randn_like=lambda _: noise):
            if step.t >= before:
                kept = model.process.alpha_bar[step.t] / model.process.alpha_bar[before - 1]
                x = kept.sqrt() * x + (1 - kept).sqrt() * noise
            x = theirs.step(model.network(x, torch.full((2,), step.t - 1)), step.t - 1, x, image, known).prev_sample
            assert torch.allclose(step.x, x, atol=1e-9), step.t
            before = step.t
    assert torch.equal(step.x * known, image * known)


def test_the_visits_are_those_of_algorithm_1() -> None:
    """u = 1..U at each t > 1, and t = 1 once."""
    task = RePaint(image=IMAGE, known=KNOWN, repeats=3)
    assert task.visits(4) == [4, 4, 4, 3, 3, 3, 2, 2, 2, 1]


@pytest.mark.parametrize(("K", "repeats", "jump"), [(20, 3, 5), (50, 10, 10), (7, 2, 9)])
def test_the_visits_are_those_of_the_references_code(K: int, repeats: int, jump: int) -> None:
    """diffusers has its list of states, where 0 stands for x_1; the steps are those downwards, and the last to x_0."""
    theirs = RePaintScheduler(K)
    theirs.set_timesteps(K, jump, repeats)
    states = [*theirs.timesteps.tolist(), -1]
    downwards = [here + 1 for here, there in itertools.pairwise(states) if there < here]
    found = RePaint(image=IMAGE, known=KNOWN, repeats=repeats, jump=jump).visits(K)
    assert found == downwards
    assert len(found) == sum(Counter(found).values())


@pytest.mark.parametrize("sampler", [UniPC(), HeunSampler()], ids=name)
def test_a_sampler_without_single_steps_is_refused(sampler: Sampler) -> None:
    with pytest.raises(UserError, match=f"and {sampler.name} does not; use sampler=ddim"):
        mean_of_hidden(two_pixels(5, Epsilon()), repeats=1, sampler=sampler)


def test_bounds() -> None:
    with pytest.raises(UserError, match="repeats=0"):
        RePaint(image=IMAGE, known=KNOWN, repeats=0)
    with pytest.raises(UserError, match="jump=0"):
        RePaint(image=IMAGE, known=KNOWN, jump=0)
