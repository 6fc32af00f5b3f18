"""From integers to real numbers, which have a density, and back to a price of the integers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.typing import Images, PerExample


class Dequantized(NamedTuple):
    """y: [b, *d], and what it costs besides its own density, in nats: [b]."""

    y: Images
    cost: PerExample


class Dequantization(ABC):
    """Draws y ~ q(y | x_0), so that −log P(x_0) ≤ E_q[cost − log p(y)] for any density p (Theis et al., 2016; Ho et
    al., 2019): p is a model of y, and with it P of the integers that x_0 stands for."""

    @abstractmethod
    def label(self, model: DenoisingDiffusion) -> str:
        """What a result's name says of it."""

    @property
    def origin(self) -> dict[str, Any]:
        """What else a result says of it."""
        return {}

    @abstractmethod
    def __call__(self, model: DenoisingDiffusion, x_0: Images, randn_like: Callable[[Images], Images]) -> Dequantized:
        """x_0: [b, *d], on the grid of the model's levels."""


class UniformDequantization(Dequantization):
    """y = x_0 + a uniform draw from the bin around it, and P(x_0) = ∫ p over the bin: cost −log of the bin's volume.

    Good where p is even within a bin; one that has learned the grid, and resolves it, finds most of a bin unlikely.
    """

    def label(self, model: DenoisingDiffusion) -> str:
        return "uniform"

    def __call__(self, model: DenoisingDiffusion, x_0: Images, randn_like: Callable[[Images], Images]) -> Dequantized:
        width = 2 / (model.levels - 1)
        u = torch.special.ndtr(randn_like(x_0))
        return Dequantized(x_0 + width * (u - 0.5), x_0.new_full((len(x_0),), -x_0[0].numel() * math.log(width)))


class DecoderDequantization(Dequantization):
    """y = x_0 + σ_1 ε, which is x_1/√ᾱ_1, and P(x_0) = ∫ p_θ(x_0 | x_1) p(x_1) dx_1 with the decoder of Eq. 13: cost
    log q(y | x_0) + L_0.

    So the bound is the paper's, but for p(x_1), which there is the chain's and costs Σ_{t>1} L_{t−1} + L_T.
    """

    def label(self, model: DenoisingDiffusion) -> str:
        return f"decoder_{model.variance.name}"

    @property
    def origin(self) -> dict[str, Any]:
        return {"clip_x_0": True}  # as in the paper's evaluation

    def __call__(self, model: DenoisingDiffusion, x_0: Images, randn_like: Callable[[Images], Images]) -> Dequantized:
        exploding = VarianceExploding(model.process)
        t = torch.ones(len(x_0), dtype=torch.int64, device=x_0.device)
        y = exploding.q_sample(x_0, t, randn_like(x_0))
        decoder = model.reverse(exploding.leave(y, t), t, clip_x_0=True)
        return Dequantized(y, decoder.discretized_nll(x_0, model.levels) - exploding.marginal(x_0, t).nll(y))
