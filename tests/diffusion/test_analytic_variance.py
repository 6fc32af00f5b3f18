"""The analytic variance is the best one: exact on Gaussian data, on all steps and on every subset of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddpm_lightning.diffusion.analytic_variance import AnalyticVariance, estimate_gamma, save_gamma
from ddpm_lightning.diffusion.likelihood import every_term
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon, Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import CosineSchedule, LinearSchedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance
from ddpm_lightning.errors import UserError
from tests.choices import PARAMETERIZATIONS, name
from tests.diffusion.samplers.test_samplers import best_log_variance
from tests.exact import exact_model

M, S = 0.3, 0.5


def exact_gamma(process: GaussianDiffusion) -> Tensor:
    """Γ_t of the exact network for data N(m, s²): 1 − Γ_t = ᾱ s²/(ᾱ s² + 1 − ᾱ)."""
    return 1 - process.alpha_bar * S**2 / (process.alpha_bar * S**2 + 1 - process.alpha_bar)


def analytic(process: GaussianDiffusion, folder: Path) -> AnalyticVariance:
    save_gamma(str(folder / "gamma.pt"), process, exact_gamma(process))
    return AnalyticVariance(str(folder / "gamma.pt"))


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_gamma_of_gaussian_data_is_known(parameterization: Parameterization) -> None:
    process = GaussianDiffusion(LinearSchedule(T=20, beta_1=1e-2, beta_T=0.4))
    model = exact_model(process, parameterization, BetaVariance(), M, S)
    x_0 = M + S * torch.randn(20_000, 1, dtype=torch.float64)
    gamma = estimate_gamma(model, x_0, randn_like=torch.randn_like)
    torch.testing.assert_close(gamma[1:], exact_gamma(process)[1:], rtol=0.05, atol=0)


@pytest.mark.parametrize("steps", [None, [1, 3, 10, 25, 50], [50]])
def test_it_is_the_variance_of_gaussian_data_on_every_subset_of_the_steps(
    steps: list[int] | None, tmp_path: Path
) -> None:
    process = GaussianDiffusion(LinearSchedule(T=50, beta_1=1e-3, beta_T=0.3))
    model = exact_model(process, Epsilon(), analytic(process, tmp_path), M, S)
    chain = model if steps is None else model.coarsen(steps)
    t = torch.arange(2, chain.process.T + 1)
    x_t = torch.zeros(len(t), 1, dtype=torch.float64)
    found = model.variance.log_variance(chain.process, t, x_t, None)[:, 0]
    torch.testing.assert_close(found, best_log_variance(chain.process, S)[t])


def test_the_bound_is_best_with_it(tmp_path: Path) -> None:
    process = GaussianDiffusion(LinearSchedule(T=50, beta_1=1e-3, beta_T=0.3))
    model = exact_model(process, Epsilon(), BetaVariance(), M, S)
    x_0 = M + S * torch.randn(4000, 1, dtype=torch.float64)
    bounds = {}
    for variance in (BetaVariance(), BetaTildeVariance(), analytic(process, tmp_path)):
        torch.manual_seed(0)
        terms = every_term(model.with_variance(variance), x_0, randn_like=torch.randn_like)
        bounds[variance.name] = sum(float(measured.term.mean()) for measured in terms)
    assert bounds["analytic"] < min(bounds["beta"], bounds["beta_tilde"]) - 1e-3


def test_it_lies_between_beta_tilde_and_beta_whatever_gamma_says(tmp_path: Path) -> None:
    process = GaussianDiffusion(CosineSchedule(T=50))
    t = torch.arange(2, 51)
    x_t = torch.zeros(len(t), 1, dtype=torch.float64)
    for gamma, least in ((-3.0, False), (3.0, True)):
        save_gamma(str(tmp_path / "gamma.pt"), process, torch.full_like(process.alpha_bar, gamma))
        found = AnalyticVariance(str(tmp_path / "gamma.pt")).log_variance(process, t, x_t, None)[:, 0]
        if least:
            torch.testing.assert_close(found, process.log_beta_tilde[t])
        else:
            assert (found > process.log_beta_tilde[t]).all()


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    process = GaussianDiffusion(LinearSchedule(T=50, beta_1=1e-3, beta_T=0.3))
    variance = analytic(process, tmp_path)
    other = GaussianDiffusion(CosineSchedule(T=50))
    with pytest.raises(UserError, match="another chain"):
        DenoisingDiffusion(torch.nn.Identity(), other, Epsilon(), variance)
    with pytest.raises(UserError, match=r"metrics=\[gamma\]"):
        AnalyticVariance()
    (tmp_path / "gamma.pt").write_bytes(b"no file of PyTorch")
    with pytest.raises(UserError, match="damaged"):
        AnalyticVariance(str(tmp_path / "gamma.pt"))
