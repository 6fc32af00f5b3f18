"""The variational bound in bits per dimension, term by term (Ho et al., 2020, Eq. 5), and estimates of it."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion, NetworkOutput
from ddpm_lightning.typing import ByStep, Images, PerExample, Table, Timesteps


def bits_per_dimension(nats: PerExample, x: Images) -> PerExample:
    """Converts nats per example to bits per dimension: nats/(d log 2), [b].

    Args:
        nats: [b].
        x: the examples, [b, *d]; they give the number of dimensions d.
    """
    return nats / (x[0].numel() * math.log(2))


def prior_term(model: DenoisingDiffusion, x_0: Images) -> PerExample:
    """Returns L_T of Eq. 5 in bits/dim: [b]. It has no parameters, because β_t is fixed.

    Args:
        model: gives the forward process.
        x_0: clean images, [b, *d].
    """
    return bits_per_dimension(model.process.prior_kl(x_0), x_0)


class HasFirstStep:
    """Tells whether any t of a batch is 1, where the bound needs the costly decoder of Eq. 13.

    Python must wait for a GPU to learn this. Make it before the network call and read it after the call: then the
    GPU has work in the meantime.

    Args:
        t: [b] in 1..T.
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
    """Returns one term of the bound for each example, in bits/dim: [b].

        L_{t−1} = D_KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t))  for t > 1                        (Eq. 5)
        L_0 = −log p_θ(x_0 | x_1), the discrete decoder,  for t = 1                                (Eq. 13)

    Args:
        model: the reverse process.
        output: the network's output at (x_t, t).
        x_0: clean images on the grid of the data's levels, [b, *d].
        x_t: drawn from q(x_t | x_0), [b, *d].
        t: [b] in 1..T.
        clip_x_0: whether to clip x̂_0 to [−1, 1].
        has_first: made of t before the network call; None makes it here.
    """
    denoised = model.interpret(output, x_t, t, clip_x_0)
    return _term(model, denoised, x_0, x_t, t, HasFirstStep(t) if has_first is None else has_first)


def _term(
    model: DenoisingDiffusion, denoised: Denoised, x_0: Images, x_t: Images, t: Timesteps, has_first: HasFirstStep
) -> PerExample:
    nats = model.process.posterior(x_0, x_t, t).kl(denoised.reverse)
    if has_first:
        nats = torch.where(t == 1, denoised.reverse.discretized_nll(x_0, model.levels), nats)
    return bits_per_dimension(nats, x_0)


class Measured(NamedTuple):
    """The errors of one network call for each example.

    Args:
        term: the term of Eq. 5 at t, in bits/dim, [b].
        squared_error: mean (x_0 − x̂_0)² over dimensions, [b].
    """

    term: PerExample
    squared_error: PerExample


def measure(model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images, clip_x_0: bool = False) -> Measured:
    """Calls the network once at x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, and returns its errors.

    Args:
        model: the reverse process.
        x_0: clean images, [b, *d].
        t: [b] in 1..T.
        eps: ε ~ N(0, I), [b, *d].
        clip_x_0: whether to clip x̂_0 to [−1, 1].
    """
    x_t = model.process.q_sample(x_0, t, eps)
    has_first = HasFirstStep(t)
    denoised = model.denoise(x_t, t, clip_x_0)
    squared_error = (x_0 - denoised.x_0_hat).square().flatten(1).mean(1)
    return Measured(_term(model, denoised, x_0, x_t, t, has_first), squared_error)


def every_term(
    model: DenoisingDiffusion, x_0: Images, *, randn_like: Callable[[Images], Images], clip_x_0: bool = True
) -> Iterator[Measured]:
    """Yields the terms L_{T−1}, …, L_0 of Eq. 5, each at one draw of x_t; T network calls per image.

    The sum of all terms and `prior_term` is an unbiased estimate of the bound.

    Args:
        model: the reverse process.
        x_0: clean images, [b, *d].
        randn_like: draws ε ~ N(0, I) in the shape of its argument.
        clip_x_0: whether to clip x̂_0 to [−1, 1], as the paper's evaluation does.
    """
    for t in range(model.process.T, 0, -1):
        yield measure(model, x_0, torch.full((len(x_0),), t, device=x_0.device), randn_like(x_0), clip_x_0)


class Estimate(NamedTuple):
    """An unbiased estimate of the bound for each example.

    Args:
        bound: the estimate of Eq. 5, in bits/dim, [b].
        variance: its variance over the draws of t and x_t, in (bits/dim)², [b]. It is estimated from pairs of
            neighbouring strata: E (d_1 − d_2)² = Var d_1 + Var d_2 + (E d_1 − E d_2)². So on average it is not too
            small.
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
    """Estimates the bound of each image from a few of its T terms, without bias.

        L = L_T + Σ_{t=1}^T L_{t−1} = L_T + E_{t~p}[L_{t−1}/p(t)]                                    (Eq. 5)

    L_T is exact. One t is drawn from each of `number` equal slices of p (stratified sampling).

    Args:
        model: the reverse process.
        x_0: clean images, [b, *d].
        proposal: p, [T+1], positive in rows 1..T, which sum to 1. The best p(t) is ∝ √E L²_{t−1}; see `pilot`.
        number: how many t to draw per image, at least 2; each is a network call.
        rand: draws u ~ Uniform[0, 1), [b].
        randn_like: draws ε ~ N(0, I) in the shape of its argument.
        clip_x_0: whether to clip x̂_0 to [−1, 1], as the paper's evaluation does.
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
    """Returns the proposal p(t) ∝ 1/t for `estimate_bound`: [T+1]. It fits any model: small t have large terms."""
    return as_proposal(1 / torch.arange(1, T + 1, dtype=torch.float64), uniform_share=0.0)


def as_proposal(weights: ByStep, uniform_share: float = 0.1) -> Table:
    """Returns the proposal p(t) ∝ weights for `estimate_bound`: [T+1], 0 in row 0.

    Args:
        weights: positive weights of t = 1..T, [T].
        uniform_share: the share of p(t) that is spread evenly, in [0, 1]; it bounds 1/p(t).
    """
    p = (1 - uniform_share) * weights / weights.sum() + uniform_share / len(weights)
    return torch.cat([p.new_zeros(1), p])


def grid(T: int, number: int) -> list[int]:
    """Returns at most max(number, 2) steps from 1 to T, evenly spaced in log t, both ends included."""
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
    """Measures √E L²_{t−1} on a few images, as weights for `as_proposal`: [T].

    The sizes are measured on the steps of `grid(T, number)`. Between them, their logarithm is linear in log t.

    Args:
        model: the reverse process.
        x_0: a few clean images, [b, *d].
        number: how many steps to measure; each is a network call per image.
        randn_like: draws ε ~ N(0, I) in the shape of its argument.
        clip_x_0: whether to clip x̂_0 to [−1, 1].
    """
    steps = grid(model.process.T, number)
    size = []
    for t in steps:
        term = measure(model, x_0, torch.full((len(x_0),), t, device=x_0.device), randn_like(x_0), clip_x_0).term
        size.append(term.double().square().mean().sqrt().clamp(min=1e-12).log())
    known = torch.tensor(steps, dtype=torch.float64, device=x_0.device)
    every = torch.arange(1, model.process.T + 1, dtype=torch.float64, device=x_0.device)
    return interpolate(every.log(), known.log(), torch.stack(size)).exp().cpu()


def interpolate(x: ByStep, known: Tensor, values: Tensor) -> ByStep:
    """Returns the values at x of the piecewise linear function through (known, values).

    Args:
        x: where to evaluate, [n], between the ends of known.
        known: at least two points, ascending, [k].
        values: the function's values at known, [k].
    """
    right = torch.searchsorted(known, x.contiguous()).clamp(1, len(known) - 1)
    low, high = known[right - 1], known[right]
    share = (x - low) / (high - low)
    return values[right - 1] * (1 - share) + values[right] * share
