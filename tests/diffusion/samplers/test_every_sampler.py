"""Each option of conf/sampler recovers Gaussian data with the exact network, and counts its network calls."""

from dataclasses import replace
from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from ddpm_lightning.diffusion.parameterizations import Epsilon, Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.diffusion.schedules import LinearSchedule, Schedule
from ddpm_lightning.diffusion.variances import BetaVariance, Variance
from tests.choices import FIXED_VARIANCES, PARAMETERIZATIONS, SCHEDULES
from tests.commands import ROOT, slow
from tests.diffusion.samplers.test_langevin import moments
from tests.exact import ExactNetwork, consistency_model, exact_model

OPTIONS = {path.stem: path for path in sorted((ROOT / "conf" / "sampler").glob("*.yaml"))}


def sampler_of(option: str) -> Sampler:
    """The sampler of conf/sampler/OPTION.yaml, with its spacing."""
    node: Any = OmegaConf.load(OPTIONS[option])
    spacing = OmegaConf.load(Path(ROOT, "conf/sampler/spacing", node.pop("defaults")[0].spacing).with_suffix(".yaml"))
    sampler = instantiate(node, spacing=OmegaConf.merge(spacing, node.get("spacing", {})))
    assert isinstance(sampler, Sampler)
    return sampler


ALL = list(product(OPTIONS, SCHEDULES))
CASES = [(*case, *parts) for case, *parts in zip(ALL, cycle(PARAMETERIZATIONS), cycle(FIXED_VARIANCES), strict=False)]
QUICK = [(option, LinearSchedule(), PARAMETERIZATIONS[-1], BetaVariance()) for option in ("dpm_solver_sde", "restart")]


@pytest.mark.parametrize(("option", "schedule", "parameterization", "variance"), [*QUICK, *slow(*CASES)])
def test_it_recovers_a_gaussian(
    option: str, schedule: Schedule, parameterization: Parameterization, variance: Variance
) -> None:
    """To 8 % with 200 steps: Langevin dynamics leaves 5 % too much, and the constant schedule's β_1 is large."""
    sampler = sampler_of(option)
    steps = max(200, sampler.num_steps or 1000) if sampler.traits.calls_per_step < 10 else sampler.num_steps
    process = GaussianDiffusion(schedule)
    model = exact_model(process, parameterization, variance, m=0.3, s=0.5)
    if option == "consistency":  # which needs another exact network
        model = consistency_model(process, parameterization, m=0.3, s=0.5)
    mean, deviation = moments(replace(sampler, num_steps=steps, clip_x_0=False), model)
    assert mean == pytest.approx(0.3, abs=5e-3)
    assert deviation == pytest.approx(0.5, rel=0.08)


@pytest.mark.parametrize("option", OPTIONS)
def test_its_calls_are_counted(option: str) -> None:
    sampler = replace(sampler_of(option), num_steps=7)
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaVariance())
    network = model.network = Counting(model.process, Epsilon())
    sampler.sample(model, torch.zeros(1, 1), randn_like=torch.randn_like)
    assert network.calls == sampler.calls(model) == sampler.traits.calls(7)
    assert sampler.traits.steps_within(network.calls) == 7


class Counting(ExactNetwork):
    calls = 0

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x_t, t)
