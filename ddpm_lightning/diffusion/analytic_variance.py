"""Analytic-DPM (Bao et al., 2022): the best σ_t² for a trained network, from a table Γ_t measured on data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import torch

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Broadcast, Images, PerExample, Table, Timesteps

LOG_SNR_TOLERANCE = 1e-6
"""The largest difference of ½ log SNR at which two steps count as the same noise level."""


@dataclass(frozen=True)
class AnalyticVariance(Variance):
    """The σ_t² that minimizes the bound of a trained network.

        σ_t² = β̃_t + c_x_0² E Var(x_0 | x_t)
        E Var(x_0 | x_t) = (1 − ᾱ_t)/ᾱ_t · (1 − Γ_t),  Γ_t = E‖ε_θ(x_t, t)‖²/d

    It lies between β̃_t and β_t. Γ_t belongs to a noise level, so one table serves every subset of the steps. At t = 1,
    σ_t² is β̃_2, as for the other fixed variances; see `GaussianDiffusion`.

    Args:
        gamma: path of the file with Γ_t, which `save_gamma` writes (`python evaluate.py metrics=[gamma]`).

    Raises:
        UserError: the file is missing or damaged, or was measured on another chain (by `check`).

    References:
        Bao et al. (2022), "Analytic-DPM: an Analytic Estimate of the Optimal Reverse Variance in Diffusion
        Probabilistic Models", Theorem 1.
    """

    gamma: str | None = None

    name = "analytic"

    def __post_init__(self) -> None:
        if self.gamma is None:
            raise UserError(
                "variance=analytic needs the Γ_t of a trained model; measure it with evaluate.py metrics=[gamma] and "
                "give the file as variance.gamma=FOLDER/gamma.pt"
            )
        _ = self._table

    @cached_property
    def _table(self) -> tuple[Table, Table]:
        """λ_t = ½ log SNR(t) and Γ_t: two tables, [T+1], on the CPU."""
        try:
            saved: dict[str, Any] = torch.load(str(self.gamma), map_location="cpu", weights_only=True)
            return saved["half_log_snr"].double(), saved["gamma"].double()
        except Exception as error:  # a damaged file can raise nearly anything
            raise UserError(f"variance.gamma={self.gamma} is missing or damaged; measure it again") from error

    def check(self, process: GaussianDiffusion) -> None:
        wanted = process.half_log_snr[1:].cpu()
        off = (self._table[0][1:] - wanted[:, None]).abs().amin(1)
        if float(off.max()) > LOG_SNR_TOLERANCE:
            raise UserError(
                f"variance.gamma={self.gamma} was measured on another chain: step {int(off.argmax()) + 1} has no noise "
                "level of that file; measure it again with this schedule"
            )

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        uncertain = (1 - self._gamma_at(process, t)).clamp(0, 1) / process.snr[t]
        best = (process.beta_tilde[t] + process.c_x_0[t].square() * uncertain).log()
        log_variance = torch.where(t == 1, process.log_beta_tilde[t], best)
        return log_variance.to(x_t.dtype).reshape(-1, *[1] * (x_t.ndim - 1))

    def _gamma_at(self, process: GaussianDiffusion, t: Timesteps) -> Table:
        """Returns Γ at the noise levels of steps t of a chain, which may visit only some of the file's steps: [b]."""
        half_log_snr, gamma = (table[1:].to(t.device) for table in self._table)
        return gamma[(half_log_snr - process.half_log_snr[t][:, None]).abs().argmin(1)]


def every_squared_eps(
    model: DenoisingDiffusion, x_0: Images, *, randn_like: Callable[[Images], Images]
) -> Iterator[PerExample]:
    """Yields ‖ε_θ(x_t, t)‖²/d for t = 1, …, T, at one draw of x_t for each image: [b]. Its mean over images is Γ_t.

    Args:
        model: the reverse process; ε_θ follows from its unclipped x̂_0 in every parameterization.
        x_0: clean images, [b, *d].
        randn_like: draws ε ~ N(0, I) in the shape of its argument.
    """
    for step in range(1, model.process.T + 1):
        t = torch.full((len(x_0),), step, device=x_0.device)
        x_t = model.process.q_sample(x_0, t, randn_like(x_0))
        yield model.process.eps(model.predict_x_0(x_t, t), x_t, t).square().flatten(1).mean(1)


@torch.no_grad()
def estimate_gamma(model: DenoisingDiffusion, x_0: Images, *, randn_like: Callable[[Images], Images]) -> Table:
    """Returns Γ_t = E‖ε_θ(x_t, t)‖²/d, estimated from one draw of x_t for each image and each t: [T+1]; 0 in row 0.

    Args:
        model: the reverse process.
        x_0: clean images, [b, *d]; 100 to 1000 are enough.
        randn_like: draws ε ~ N(0, I) in the shape of its argument.

    References:
        Bao et al. (2022), Eq. 8; see `AnalyticVariance`.
    """
    gamma = torch.zeros_like(model.process.alpha_bar)
    for t, squared in enumerate(every_squared_eps(model, x_0, randn_like=randn_like), start=1):
        gamma[t] = squared.double().mean()
    return gamma


def save_gamma(file: str | BinaryIO, process: GaussianDiffusion, gamma: Table) -> None:
    """Writes the file that `AnalyticVariance` reads.

    Args:
        file: its path, or a file that is open for writing. An old file is overwritten.
        process: the chain on which Γ_t was estimated.
        gamma: Γ_t, [T+1].
    """
    torch.save({"half_log_snr": process.half_log_snr.cpu(), "gamma": gamma.cpu()}, file)
