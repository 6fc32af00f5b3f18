"""The variational bound term by term (Eq. 5), in bits per dimension, and an estimate of the whole."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.diffusion.interpolate import interpolate
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion, NetworkOutput
from ddpm_lightning.typing import ByStep, Images, PerExample, Table, Timesteps


def bits_per_dimension(nats: PerExample, x: Images) -> PerExample:
    """Nats of a whole example as bits for each of its dimensions."""
    return nats / (x[0].numel() * math.log(2))


def prior_term(model: DenoisingDiffusion, x_0: Images) -> PerExample:
    """L_T of Eq. 5, in bits/dim: [b]. It has no parameters."""
    return bits_per_dimension(model.process.prior_kl(x_0), x_0)


class HasFirstStep:
    """Whether some t of a batch is 1, where the costly decoder of Eq. 13 is needed.

    Python has to know it, and waits for the answer. So ask before the network call and use the answer after it: a GPU
    then has the call to work on, and is never idle.
    """

    def __init__(self, t: Timesteps) -> None:
        self.answer = (t == 1).any().to("cpu", non_blocking=True)
        self.wait = torch.cuda.current_stream(t.device).record_event().synchronize if t.is_cuda else lambda: None

    def __bool__(self) -> bool:
        self.wait()
        return bool(self.answer)


def bound_term(
    model: DenoisingDiffusion,
    output: NetworkOutput,
    x_0: Images,
    x_t: Images,
    t: Timesteps,
    clip_x_0: bool = False,
    has_first: HasFirstStep | None = None,
) -> PerExample:
    """One term of Eq. 5 for each example, in bits/dim: [b].

    L_{t−1} = D_KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t)) for t > 1, and L_0 = −log p_θ(x_0 | x_1) with the
    discrete decoder (Eq. 13) for t = 1. output: the network's answer at x_t ~ q(x_t | x_0). has_first: asked before it.
    """
    return _term(
        model,
        model.interpret(output, x_t, t, clip_x_0),
        x_0,
        x_t,
        t,
        HasFirstStep(t) if has_first is None else has_first,
    )


def _term(
    model: DenoisingDiffusion, denoised: Denoised, x_0: Images, x_t: Images, t: Timesteps, has_first: HasFirstStep
) -> PerExample:
    nats = model.process.posterior(x_0, x_t, t).kl(denoised.reverse)
    if has_first:
        nats = torch.where(t == 1, denoised.reverse.discretized_nll(x_0, model.levels), nats)
    return bits_per_dimension(nats, x_0)


class Measured(NamedTuple):
    """At one t for each example: its term of Eq. 5 in bits/dim, and mean (x_0 − x̂_0)²; both [b]."""

    term: PerExample
    squared_error: PerExample


def measure(model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images, clip_x_0: bool = False) -> Measured:
    """One network call at x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, t in 1..T, and what it costs."""
    x_t = model.process.q_sample(x_0, t, eps)
    has_first = HasFirstStep(t)
    denoised = model.denoise(x_t, t, clip_x_0)
    squared_error = (x_0 - denoised.x_0_hat).square().flatten(1).mean(1)
    return Measured(_term(model, denoised, x_0, x_t, t, has_first), squared_error)


def every_term(
    model: DenoisingDiffusion, x_0: Images, *, randn_like: Callable[[Images], Images], clip_x_0: bool = True
) -> Iterator[Measured]:
    """The terms of Eq. 5 from t = T down to 1, each at one draw of x_t: L_{T−1}, …, L_0. T network calls an image."""
    for t in range(model.process.T, 0, -1):
        yield measure(model, x_0, torch.full((len(x_0),), t, device=x_0.device), randn_like(x_0), clip_x_0)


class Estimate(NamedTuple):
    """Of Eq. 5 for each example, in bits/dim, and the variance that the draws of t and x_t gave it; both [b].

    The variance is estimated from pairs of neighbouring strata, E (d_1 − d_2)² = Var d_1 + Var d_2 + (E d_1 − E d_2)²:
    on average it is never too small.
    """

    bound: PerExample
    variance: PerExample


def estimate_bound(
    model: DenoisingDiffusion,
    x_0: Images,
    proposal: Table,
    number: int,
    *,
    rand: Callable[[], PerExample],
    randn_like: Callable[[Images], Images],
    clip_x_0: bool = True,
) -> Estimate:
    """An unbiased estimate of Eq. 5: L_T is exact, Σ_{t≥1} L_{t−1} = E_{t~p}[L_{t−1}/p(t)] takes one draw of t from
    each of `number` (at least 2) equal slices of p.

    proposal: p, [T+1], positive in rows 1..T, which sum to 1. Best is p(t) ∝ √E L²_{t−1}. Costs `number` network calls.
    rand: draws u ~ Uniform[0, 1) for each example.
    """
    p = proposal.to(x_0.device)
    cdf = p[1:].cumsum(0)
    parts = []
    for k in range(number):
        u = (k + rand().double()) / number
        t = 1 + torch.searchsorted(cdf, u, right=True).clamp(max=model.process.T - 1)
        parts.append(measure(model, x_0, t, randn_like(x_0), clip_x_0).term.double() / (number * p[t]))
    drawn = torch.stack(parts)
    return Estimate(prior_term(model, x_0) + drawn.sum(0), _variance_of_sum(drawn))


def _variance_of_sum(drawn: Tensor) -> PerExample:
    variance = (drawn[0:-1:2] - drawn[1::2]).square().sum(0)
    if len(drawn) % 2:
        variance = variance + (drawn[-1] - drawn[-2]).square()
    return variance


def harmonic(T: int) -> Table:
    """p(t) ∝ 1/t, [T+1]: a proposal for any model, since the bound's terms are large at small t."""
    return as_proposal(1 / torch.arange(1, T + 1, dtype=torch.float64), uniform_share=0.0)


def as_proposal(weights: ByStep, uniform_share: float = 0.1) -> Table:
    """p(t) ∝ the weights of t = 1..T, but for a share that is spread evenly, lest a rare t weigh too much: [T+1]."""
    p = (1 - uniform_share) * weights / weights.sum() + uniform_share / len(weights)
    return torch.cat([p.new_zeros(1), p])


def grid(T: int, number: int) -> list[int]:
    """About `number` steps of 1..T, closest together at small t, both ends among them."""
    spaced = torch.logspace(0, math.log10(T), max(min(number, T), 2), dtype=torch.float64)
    return sorted({round(float(t)) for t in spaced})


def pilot(
    model: DenoisingDiffusion,
    x_0: Images,
    number: int,
    *,
    randn_like: Callable[[Images], Images],
    clip_x_0: bool = True,
) -> ByStep:
    """√E L²_{t−1} for t = 1..T, from a few examples: measured on `grid(T, number)`, log-linear in log t between."""
    steps = grid(model.process.T, number)
    size = []
    for t in steps:
        term = measure(model, x_0, torch.full((len(x_0),), t, device=x_0.device), randn_like(x_0), clip_x_0).term
        size.append(term.double().square().mean().sqrt().clamp(min=1e-12).log())
    known = torch.tensor(steps, dtype=torch.float64, device=x_0.device)
    every = torch.arange(1, model.process.T + 1, dtype=torch.float64, device=x_0.device)
    return interpolate(every.log(), known.log(), torch.stack(size)).exp().cpu()
