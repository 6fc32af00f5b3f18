"""The probability flow ODE: maps x_0 to x_T and back, and gives the model's density of x_0."""

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
from ddpm_lightning.errors import check_whole
from ddpm_lightning.typing import ByProbe, Images, Probes

CALLS_PER_STEP = 8
"""Network calls per step of the solver: four stages of Runge–Kutta, each at the two t around it."""

Slope = Callable[[Images, float], Images]
"""A function (x, u) -> dx/du."""

EachStep = Callable[[Images], object]
"""A function that is called with x after each step of the solver."""


def _ignore(x: Images) -> None:
    """Does nothing with x."""


def check_num_steps(name: str, num_steps: int) -> None:
    """Raises UserError unless num_steps is in 1..100,000."""
    check_whole(name, num_steps, 1, f"each step is {CALLS_PER_STEP} network calls; use 50", most=100_000)


@dataclass(frozen=True)
class ProbabilityFlow:
    """The probability flow ODE of a model: along it, x has at each noise level the distribution of noisy data.

        dx/du = −(1 − ᾱ)(x + s(x, u)) = √ᾱ (√ᾱ x − D),  u = log σ,  σ² = (1 − ᾱ)/ᾱ

    s is the score and D = E[x_0 | x] the model's x̂_0, never clipped; s = (√ᾱ D − x)/(1 − ᾱ). This is Eq. 13 of the
    reference, whose ½ β dt is (1 − ᾱ) du here. The network knows only σ_1 … σ_T. Between two of them, D is
    interpolated linearly in u at equal y = x/√ᾱ (`VarianceExploding`).

    The flow is a model of data blurred by σ_1: it maps y at σ_1, which stands for x_0, to x_T ~ N(0, I). The solver is
    the classical Runge–Kutta method with equal steps in u, in the dtype of its input. It is of fourth order if its
    steps are short compared with the gaps between the σ_t, because D has a kink at each σ_t.

    Args:
        model: the reverse process.
        num_steps: the solver's steps from σ_1 to σ_T, in 1..100,000.

    References:
        Song et al. (2021), "Score-Based Generative Modeling through Stochastic Differential Equations".
    """

    model: DenoisingDiffusion
    num_steps: int = 50

    def __post_init__(self) -> None:
        check_num_steps("num_steps of the flow", self.num_steps)

    @property
    def calls(self) -> int:
        """The number of network calls per image from x_0 to x_T."""
        return CALLS_PER_STEP * self.num_steps

    @cached_property
    def log_sigma(self) -> Tensor:
        """u = log σ_t for t = 1..T, ascending: [T], on the CPU."""
        return VarianceExploding(self.model.process).sigma[1:].log().cpu()

    def denoised(self, x: Images, u: float) -> Images:
        """Returns D(x, u), the model's E[x_0 | x]: [b, *d].

        Args:
            x: noisy images at noise level u, [b, *d].
            u: in log σ_1 … log σ_T.
        """
        right = int(torch.searchsorted(self.log_sigma, u).clamp(1, len(self.log_sigma) - 1))
        low, high = self.log_sigma[right - 1 : right + 1].tolist()
        share = (u - low) / (high - low)
        t = torch.tensor([right, right + 1], device=x.device).repeat_interleave(len(x))
        y = x / _signal(u)
        x_t = VarianceExploding(self.model.process).leave(torch.cat([y, y]), t)
        before, after = self.model.predict_x_0(x_t, t).chunk(2)
        return (1 - share) * before + share * after

    def drift(self, x: Images, u: float) -> Images:
        """Returns dx/du at x and u: [b, *d]. See `denoised` for the arguments."""
        return _signal(u) * (_signal(u) * x - self.denoised(x, u))

    @torch.no_grad()
    def encode(self, x_0: Images, each_step: EachStep = _ignore) -> Images:
        """Maps x_0 to x_T: [b, *d].

        Args:
            x_0: images, [b, *d].
            each_step: called with x after each step.
        """
        return self._solve(self.drift, self._first_signal * x_0, each_step)

    @torch.no_grad()
    def decode(self, x_T: Images, each_step: EachStep = _ignore) -> Images:
        """Maps x_T to x_0: [b, *d]; the inverse of `encode`.

        Args:
            x_T: noise, [b, *d].
            each_step: called with x after each step.
        """
        return self._solve(self.drift, x_T, each_step, back=True) / self._first_signal

    def log_density(self, x_0: Images, probes: Probes, each_step: EachStep = _ignore) -> ByProbe:
        """Estimates log p(x_0) in nats, once with each probe: [k, b].

            log p(x_0) = log p(x_T) + ∫ tr J du + d/2 log ᾱ_1,  J = ∂(dx/du)/∂x         (Eq. 39 of the reference)

        tr J is estimated by vᵀJv. The mean over probes is exact for `every_direction`, and an unbiased estimate for
        `random_signs`.

        Args:
            x_0: images, [b, *d].
            probes: v, [k, b, *d].
            each_step: called with the solver's state after each step.
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
        """Returns dx/du, [b, *d], and vᵀJv for each of the k probes, [k, b]. See `log_density` for the arguments."""
        x = x.detach().requires_grad_()
        # A compiled network frees buffers in its first backward pass that the next probe needs. PyTorch has no public
        # setting for it; its error message names this one.
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
    """Returns √ᾱ at the noise level σ = e^u."""
    return (1 + math.exp(2 * u)) ** -0.5


def _runge_kutta(slope: Slope, x: Images, u: float, h: float) -> Images:
    k_1 = slope(x, u)
    k_2 = slope(x + h / 2 * k_1, u + h / 2)
    k_3 = slope(x + h / 2 * k_2, u + h / 2)
    k_4 = slope(x + h * k_3, u + h)
    return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


def every_direction(x: Images) -> Probes:
    """Returns the probes √d e_1, …, √d e_d for examples of d dimensions: [d, b, *d]. The mean of vᵀJv is tr J.

    Args:
        x: gives shape, dtype and device, [b, *d].
    """
    d = x[0].numel()
    directions = math.sqrt(d) * torch.eye(d, dtype=x.dtype, device=x.device)
    return directions.reshape(d, 1, *x.shape[1:]).expand(d, *x.shape)


def random_signs(x: Images, k: int, randn_like: Callable[[Images], Images]) -> Probes:
    """Draws k probes v of independent ±1 per example: [k, b, *d]. The expectation of vᵀJv is tr J.

    Args:
        x: gives shape, dtype and device, [b, *d].
        k: the number of probes.
        randn_like: draws ε ~ N(0, I) in the shape of its argument.

    References:
        Hutchinson (1989), "A stochastic estimator of the trace of the influence matrix".
    """
    return torch.stack([randn_like(x) for _ in range(k)]).sign()
