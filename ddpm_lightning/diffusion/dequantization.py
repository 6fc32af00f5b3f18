"""Dequantization: bounds the probability of integers by a density of real numbers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.typing import Images, PerExample


class Dequantized(NamedTuple):
    """Real numbers drawn for integers, and their cost.

    Args:
        y: drawn from q(y | x_0), [b, *d].
        cost: what to add to −log p(y) to bound −log P(x_0), in nats, [b].
    """

    y: Images
    cost: PerExample


class Dequantization(ABC):
    """A distribution q(y | x_0) of real numbers for integers, which turns any density p(y) into a bound on P(x_0).

        −log P(x_0) ≤ E_{y~q}[cost − log p(y)]

    Attributes:
        origin: further facts for the record of a result.

    References:
        Theis et al. (2016), "A note on the evaluation of generative models".
        Ho et al. (2019), "Flow++: Improving Flow-Based Generative Models with Variational Dequantization".

    Example:
        >>> class NoDequantization(Dequantization):
        ...     '''Scores the integers by the density itself, which is no bound.'''
        ...
        ...     def label(self, model):
        ...         return "none"
        ...
        ...     def __call__(self, model, x_0, randn_like):
        ...         return Dequantized(x_0, x_0.new_zeros(len(x_0)))
    """

    origin: ClassVar[dict[str, Any]] = {}

    @abstractmethod
    def label(self, model: DenoisingDiffusion) -> str:
        """Returns its part of the names of results."""

    @abstractmethod
    def __call__(self, model: DenoisingDiffusion, x_0: Images, randn_like: Callable[[Images], Images]) -> Dequantized:
        """Draws y ~ q(y | x_0) and computes its cost.

        Args:
            model: gives the number of levels, and a decoder.
            x_0: images on the grid of the model's levels, [b, *d].
            randn_like: draws ε ~ N(0, I) in the shape of its argument.
        """


class UniformDequantization(Dequantization):
    """Draws y uniformly from the bin around x_0.

    P(x_0) is p(y), integrated over the bin. The cost is −log of the bin's volume.

    The bound is tight if p is even within a bin. A model that has learned the grid of the levels concentrates p on it,
    and finds most of a bin unlikely.
    """

    def label(self, model: DenoisingDiffusion) -> str:
        return "uniform"

    def __call__(self, model: DenoisingDiffusion, x_0: Images, randn_like: Callable[[Images], Images]) -> Dequantized:
        width = 2 / (model.levels - 1)
        u = torch.special.ndtr(randn_like(x_0))
        return Dequantized(x_0 + width * (u - 0.5), x_0.new_full((len(x_0),), -x_0[0].numel() * math.log(width)))


class DecoderDequantization(Dequantization):
    """Draws y = x_1/√ᾱ_1 = x_0 + σ_1 ε, from which the discrete decoder of Eq. 13 reads x_0.

        P(x_0) = ∫ p_θ(x_0 | x_1) p(x_1) dx_1,  cost = log q(y | x_0) − log p_θ(x_0 | x_1)

    The bound is the paper's, except for p(x_1): the chain of the paper pays Σ_{t>1} L_{t−1} + L_T for it.
    """

    origin: ClassVar[dict[str, Any]] = {"clip_x_0": True}  # as in the paper's evaluation

    def label(self, model: DenoisingDiffusion) -> str:
        return f"decoder_{model.variance.name}"

    def __call__(self, model: DenoisingDiffusion, x_0: Images, randn_like: Callable[[Images], Images]) -> Dequantized:
        exploding = VarianceExploding(model.process)
        t = torch.ones(len(x_0), dtype=torch.int64, device=x_0.device)
        y = exploding.q_sample(x_0, t, randn_like(x_0))
        decoder = model.reverse(exploding.leave(y, t), t, clip_x_0=True)
        return Dequantized(y, decoder.discretized_nll(x_0, model.levels) - exploding.marginal(x_0, t).nll(y))
