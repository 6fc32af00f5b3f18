"""The variational bound term by term (Eq. 5), in bits per dimension, and an estimate of the whole."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from ddpm_lightning.diffusion.model import DenoisingDiffusion, Output
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
    reverse = model.interpret(output, x_t, t, clip_x_0).reverse
    kl = model.process.posterior(x_0, x_t, t).kl(reverse)
    nats = torch.where(t == 1, reverse.discretized_nll(x_0, model.levels), kl)
    return bits_per_dimension(nats, x_0)


def strata(T: int, number: int) -> list[tuple[int, int]]:
    """Cuts steps 2..T into at most `number` ranges [first, last], short where the bound's terms are large (small t)."""
    edges = torch.logspace(math.log10(2), math.log10(T + 1), min(number, T - 1) + 1, dtype=torch.float64)
    cuts = sorted({round(float(edge)) for edge in edges})
    return [(first, after - 1) for first, after in pairwise(cuts)]


def estimate_bound(
    model: DenoisingDiffusion, x_0: Images, number: int, generator: torch.Generator, clip_x_0: bool = True
) -> PerExample:
    """An unbiased estimate of Eq. 5 for each example, in bits/dim: [b].

    L_T is exact, L_0 gets one draw of x_1, and ΣL_{t−1} one draw of t in each of about `number` strata of 2..T,
    weighted by the stratum's length. Costs `number` + 1 network calls. generator: on the device of x_0.
    """
    total = prior_term(model, x_0) + _drawn_term(model, x_0, 1, 1, generator, clip_x_0)
    for first, last in strata(model.process.T, number):
        total += (last - first + 1) * _drawn_term(model, x_0, first, last, generator, clip_x_0)
    return total


def _drawn_term(
    model: DenoisingDiffusion, x_0: Images, first: int, last: int, generator: torch.Generator, clip_x_0: bool
) -> Tensor:
    t = torch.randint(first, last + 1, (len(x_0),), generator=generator, device=x_0.device)
    eps = torch.randn(x_0.shape, generator=generator, device=x_0.device, dtype=x_0.dtype)
    x_t = model.process.q_sample(x_0, t, eps)
    return bound_term(model, model(x_t, t), x_0, x_t, t, clip_x_0)
