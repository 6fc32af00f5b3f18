"""The variational bound term by term (Eq. 5), in bits per dimension, and an estimate of the whole."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion, Output
from ddpm_lightning.typing import Images, PerExample, Timesteps


def bits_per_dimension(nats: PerExample, x: Images) -> PerExample:
    """Nats of a whole example as bits for each of its dimensions."""
    return nats / (x[0].numel() * math.log(2))


def prior_term(model: DenoisingDiffusion, x_0: Images) -> PerExample:
    """L_T of Eq. 5, in bits/dim: [b]. It has no parameters."""
    return bits_per_dimension(model.process.prior_kl(x_0), x_0)


def bound_term(
    model: DenoisingDiffusion, output: Output, x_0: Images, x_t: Images, t: Timesteps, clip_x_0: bool = False
) -> PerExample:
    """One term of Eq. 5 for each example, in bits/dim: [b].

    L_{t−1} = D_KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t)) for t > 1, and L_0 = −log p_θ(x_0 | x_1) with the
    discrete decoder (Eq. 13) for t = 1. output: the network's answer at x_t ~ q(x_t | x_0).
    """
    return _term(model, model.interpret(output, x_t, t, clip_x_0), x_0, x_t, t)


def _term(model: DenoisingDiffusion, denoised: Denoised, x_0: Images, x_t: Images, t: Timesteps) -> PerExample:
    kl = model.process.posterior(x_0, x_t, t).kl(denoised.reverse)
    nats = torch.where(t == 1, denoised.reverse.discretized_nll(x_0, model.levels), kl)
    return bits_per_dimension(nats, x_0)


class Measured(NamedTuple):
    """At one t for each example: its term of Eq. 5 in bits/dim, and mean (x_0 − x̂_0)²; both [b]."""

    term: PerExample
    squared_error: PerExample


def measure(model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images, clip_x_0: bool = False) -> Measured:
    """One network call at x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, t in 1..T, and what it costs."""
    x_t = model.process.q_sample(x_0, t, eps)
    denoised = model.denoise(x_t, t, clip_x_0)
    squared_error = (x_0 - denoised.x_0_hat).square().flatten(1).mean(1)
    return Measured(_term(model, denoised, x_0, x_t, t), squared_error)


def strata(T: int, number: int) -> list[tuple[int, int]]:
    """Cuts steps 2..T into at most `number` ranges [first, last], short where the bound's terms are large (small t)."""
    edges = torch.logspace(math.log10(2), math.log10(T + 1), min(number, T - 1) + 1, dtype=torch.float64)
    cuts = sorted({round(float(edge)) for edge in edges})
    return [(first, after - 1) for first, after in pairwise(cuts)]


def estimate_bound(
    model: DenoisingDiffusion,
    x_0: Images,
    number: int,
    *,
    rand: Callable[[], PerExample],
    randn_like: Callable[[Images], Images],
    clip_x_0: bool = True,
) -> PerExample:
    """An unbiased estimate of Eq. 5 for each example, in bits/dim: [b].

    L_T is exact, L_0 gets one draw of x_1, and ΣL_{t−1} one draw of t in each of about `number` strata of 2..T,
    weighted by the stratum's length. Costs `number` + 1 network calls. rand: draws u ~ Uniform[0, 1) for each example.
    """
    total = prior_term(model, x_0)
    for first, last in [(1, 1), *strata(model.process.T, number)]:
        length = last - first + 1
        t = first + (rand() * length).long().clamp(max=length - 1)
        total = total + length * measure(model, x_0, t, randn_like(x_0), clip_x_0).term
    return total
