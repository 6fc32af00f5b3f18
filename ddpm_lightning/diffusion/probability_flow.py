"""The probability flow: an ODE that leads from x_0 to x_T and back, and gives each x_0 its density, exact up to the
solver."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch._functorch import config as compiler_config

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.errors import check_at_most, check_whole
from ddpm_lightning.typing import ByProbe, Images, Probes

CALLS_PER_STEP = 8
"""Of the network: four stages of Runge–Kutta, each between two t."""

MOST_STEPS = 100_000

Slope = Callable[[Images, float], Images]
"""(x, u) -> dx/du."""

EachStep = Callable[[Images], object]
"""Is shown x after each step of the solver."""


def _unseen(x: Images) -> None:
    """Nobody looks."""


def check_num_steps(name: str, num_steps: int) -> None:
    """Raises UserError unless the solver can take so many."""
    check_whole(name, num_steps, 1, "use 50")
    check_at_most(name, num_steps, MOST_STEPS, f"each is {CALLS_PER_STEP} network calls")


@dataclass(frozen=True)
class ProbabilityFlow:
    """dx/du = −(1 − ᾱ)(x + s(x, u)) with u = log σ, σ² = (1 − ᾱ)/ᾱ: led along it, x has at each u the distribution that
    noising gives.

    This is the probability flow ODE (Song et al., 2021, Eq. 13; ½ β dt there is (1 − ᾱ) du here), and as
    s = (√ᾱ D − x)/(1 − ᾱ), D = x̂_0, it is dx/du = √ᾱ (√ᾱ x − D). D is never clipped. The network was taught
    σ_1 … σ_T alone: between two of them D is linear in u, at one y = x/√ᾱ (`VarianceExploding`).

    The flow is a model of its own, of data blurred by σ_1: x_0 is y at σ_1, and x_T ~ N(0, I). num_steps: of the
    classical Runge–Kutta method, evenly in u. It is of fourth order where its steps are short against the gaps between
    the σ_t, at each of which D has a kink. All is done in the dtype of what is given.
    """

    model: DenoisingDiffusion
    num_steps: int = 50

    def __post_init__(self) -> None:
        check_num_steps("num_steps of the flow", self.num_steps)

    @property
    def calls(self) -> int:
        """How many network calls it takes from x_0 to x_T."""
        return CALLS_PER_STEP * self.num_steps

    @cached_property
    def log_sigma(self) -> Tensor:
        """u at t = 1..T, ascending, on the CPU; that of t stands at t − 1."""
        return VarianceExploding(self.model.process).sigma[1:].log().cpu()

    def denoised(self, x: Images, u: float) -> Images:
        """D(x, u), the model's E[x_0 | x]: [b, *d]; u from log σ_1 to log σ_T."""
        right = int(torch.searchsorted(self.log_sigma, u).clamp(1, len(self.log_sigma) - 1))
        low, high = self.log_sigma[right - 1 : right + 1].tolist()
        share = (u - low) / (high - low)
        t = torch.tensor([right, right + 1], device=x.device).repeat_interleave(len(x))
        y = x / _signal(u)
        x_t = VarianceExploding(self.model.process).leave(torch.cat([y, y]), t)
        before, after = self.model.predict_x_0(x_t, t).chunk(2)
        return (1 - share) * before + share * after

    def drift(self, x: Images, u: float) -> Images:
        """dx/du: [b, *d]."""
        return _signal(u) * (_signal(u) * x - self.denoised(x, u))

    @torch.no_grad()
    def encode(self, x_0: Images, each_step: EachStep = _unseen) -> Images:
        """The x_T that x_0 is led to: [b, *d]."""
        return self._solve(self.drift, self._first_signal * x_0, each_step)

    @torch.no_grad()
    def decode(self, x_T: Images, each_step: EachStep = _unseen) -> Images:
        """The x_0 that is led to x_T: [b, *d]."""
        return self._solve(self.drift, x_T, each_step, back=True) / self._first_signal

    def log_density(self, x_0: Images, probes: Probes, each_step: EachStep = _unseen) -> ByProbe:
        """log p(x_0) = log p(x_T) + ∫ tr J du + d/2 log ᾱ_1 in nats, J = ∂(dx/du)/∂x (Song et al., Eq. 39): [k, b].

        probes: v, [k, b, *d]. Each gives one estimate, with vᵀJv for tr J; their mean is exact for `every_direction`,
        and unbiased for `random_signs` (Hutchinson).
        """
        k = len(probes)

        def slope(state: Images, u: float) -> Images:
            drift, gain = self.drift_and_gain(state[:, k:].reshape(x_0.shape), u, probes)
            return torch.cat([gain.T, drift.flatten(1)], dim=1)

        start = torch.cat([x_0.new_zeros(len(x_0), k), self._first_signal * x_0.flatten(1)], dim=1)
        end = self._solve(slope, start, each_step)
        x_T = end[:, k:]
        prior = Gaussian(torch.zeros_like(x_T), x_T.new_zeros(()))
        return end[:, :k].T + x_T.shape[1] * math.log(self._first_signal) - prior.nll(x_T)

    @torch.enable_grad()
    def drift_and_gain(self, x: Images, u: float, probes: Probes) -> tuple[Images, ByProbe]:
        """dx/du: [b, *d], and vᵀJv for each of the k probes: [k, b].

        A compiled network would otherwise free during the first probe's pass back what the second one's needs. PyTorch
        has no public setting for it; its error message names this one.
        """
        x = x.detach().requires_grad_()
        with compiler_config.patch(donated_buffer=False):
            drift = self.drift(x, u)
            gain = [(v * torch.autograd.grad(drift, x, v, retain_graph=True)[0]).flatten(1).sum(1) for v in probes]
        return drift.detach(), torch.stack(gain)

    @property
    def _first_signal(self) -> float:
        """√ᾱ_1."""
        return float(self.model.process.alpha_bar[1].sqrt())

    def _solve(self, slope: Slope, x: Images, each_step: EachStep, back: bool = False) -> Images:
        start, end = self.log_sigma[[-1, 0] if back else [0, -1]].tolist()
        h = (end - start) / self.num_steps
        for step in range(self.num_steps):
            x = _runge_kutta(slope, x, start + step * h, h)
            each_step(x)
        return x


def _signal(u: float) -> float:
    """√ᾱ where σ is e^u."""
    return (1 + math.exp(2 * u)) ** -0.5


def _runge_kutta(slope: Slope, x: Images, u: float, h: float) -> Images:
    k_1 = slope(x, u)
    k_2 = slope(x + h / 2 * k_1, u + h / 2)
    k_3 = slope(x + h / 2 * k_2, u + h / 2)
    k_4 = slope(x + h * k_3, u + h)
    return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


def every_direction(x: Images) -> Probes:
    """√d e_1, …, √d e_d, for examples of d dimensions: [d, b, *d]. The mean of their vᵀJv is tr J."""
    d = x[0].numel()
    directions = math.sqrt(d) * torch.eye(d, dtype=x.dtype, device=x.device)
    return directions.reshape(d, 1, *x.shape[1:]).expand(d, *x.shape)


def random_signs(x: Images, k: int, randn_like: Callable[[Images], Images]) -> Probes:
    """v of ±1 with equal chances, k for each example: [k, b, *d]. The mean of vᵀJv is tr J (Hutchinson, 1989)."""
    return torch.stack([randn_like(x) for _ in range(k)]).sign()
