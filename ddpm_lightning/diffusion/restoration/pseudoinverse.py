"""Pseudoinverse guidance, ΠGDM (Song et al., 2023): draws images of which a linear measurement is given."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddpm_lightning.diffusion.conditional.guidance import OutputGuidance
from ddpm_lightning.diffusion.model import DenoisingDiffusion, NetworkOutput
from ddpm_lightning.diffusion.process import at
from ddpm_lightning.diffusion.restoration.measurements import LinearMeasurement
from ddpm_lightning.diffusion.restoration.task import Task, in_turn
from ddpm_lightning.diffusion.samplers import RandnLike, Sampler, Step
from ddpm_lightning.errors import UserError, check_positive
from ddpm_lightning.typing import Images, SomeMeasured, Timesteps


@dataclass(frozen=True, kw_only=True, eq=False)
class PseudoinverseGuidance(OutputGuidance, Task):
    """Adds to the score of q(x_t) that of a measurement y = H x_0 + σ_y z,  z ~ N(0, I).

        ∇ log p(y | x_t) ≈ −½ ∇ ‖y − H x̂_0(x_t)‖² / (r_t² h + σ_y²),  H Hᵀ = h I           (Eq. 7 of the reference)
        r_t² = s² (1 − ᾱ_t)/(ᾱ_t s² + 1 − ᾱ_t)

    The gradient goes through the network. So a step costs a backward pass, too. The approximation is that x_0 given
    x_t is N(x̂_0, r_t² I). It is exact for data N(m, s² I): then x_0 is drawn from the posterior p(x_0 | y). It works
    with every sampler, parameterization, schedule and variance, because it changes the network's output alone.

    Args:
        measurement: H.
        y: the measurements, one for each example or one for all, [b or 1, *m]; hidden values are 0.
        noise: σ_y, at least 0.
        sigma_data: s, the standard deviation of the data on the scale [−1, 1], above 0. It is 0.5 for most
            images; the reference has 1.

    Raises:
        UserError: an argument is out of its range.

    References:
        Song et al. (2023), "Pseudoinverse-Guided Diffusion Models for Inverse Problems".
    """

    measurement: LinearMeasurement
    y: SomeMeasured
    noise: float = 0.0
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not self.noise >= 0:
            raise UserError(f"noise={self.noise} is not at least 0: it is the noise of the measurement; use 0")
        check_positive("sigma_data", self.sigma_data, "it is the standard deviation of the data; use 0.5")

    @property
    def suffix(self) -> str:  # type: ignore[override]
        return f"_pseudoinverse{self.noise:g}"

    def output(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps) -> NetworkOutput:
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            f, v = model(x_t, t)
            x_0_hat = model.interpret(NetworkOutput(f, v), x_t, t).x_0_hat
            log_density = self._log_density(model, x_0_hat, t)
            (gradient,) = torch.autograd.grad(log_density, x_t)
        alpha_bar = model.process.alpha_bar
        shift = at((1 - alpha_bar) / alpha_bar.sqrt(), t, x_t) * gradient  # the score's change in units of x̂_0
        f = model.target((x_0_hat + shift).detach(), x_t.detach(), t)
        return NetworkOutput(f, None if v is None else v.detach())

    def _log_density(self, model: DenoisingDiffusion, x_0_hat: Images, t: Timesteps) -> Tensor:
        """Returns log p(y | x_t) up to a constant, summed over the batch."""
        noise = 1 - model.process.alpha_bar
        r_squared = self.sigma_data**2 * noise / (model.process.alpha_bar * self.sigma_data**2 + noise)
        missing = self.y.to(x_0_hat) - self.measurement(x_0_hat)
        variance = at(r_squared * self.measurement.gain + self.noise**2, t, missing)
        return -(missing.square() / (2 * variance)).sum()

    def trajectory(
        self, model: DenoisingDiffusion, sampler: Sampler, x_T: Images, *, randn_like: RandnLike
    ) -> Iterator[Step]:
        return sampler.trajectory(self.guide(model), x_T, randn_like=randn_like)

    def of(self, numbers: Sequence[int]) -> "PseudoinverseGuidance":
        return replace(self, measurement=self.measurement.of(numbers), y=in_turn(self.y, numbers))

    @property
    def given(self) -> Mapping[str, Tensor]:
        return {"y": self.y, **self.measurement.given}
