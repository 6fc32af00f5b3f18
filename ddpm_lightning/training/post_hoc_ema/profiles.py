"""Power-function profiles of averages of weights: their update, inner products and combinations.

    θ̂_γ(n) = ∫_0^n p(τ) θ(τ) dτ,  p(τ) = (γ + 1) τ^γ/n^{γ+1},  where θ(τ) = θ_k for τ in (k − 1, k]

References:
    Karras et al. (2024), "Analyzing and Improving the Training Dynamics of Diffusion Models", Section 3, Appendix C.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm_lightning.errors import check_interval

LONGEST = 1 / math.sqrt(12)
"""The length of the plain mean of all weights, the profile with γ = 0."""


class Profile(NamedTuple):
    """The profile of an average after n updates.

    Args:
        n: the updates so far, at least 1.
        gamma: γ, the exponent, at least 0.
    """

    n: int
    gamma: float


def check_length(name: str, length: object) -> None:
    """Raises UserError unless an average can have this length. `name` is what the user calls it."""
    advice = "it is the width of the average as a share of the training; use 0.1"
    check_interval(name, length, 0, LONGEST, advice, ends="(]")


def length_of(gamma: float) -> float:
    """Returns σ_rel, the standard deviation of a profile as a share of n: √(γ + 1)/((γ + 2) √(γ + 3))."""
    return math.sqrt(gamma + 1) / ((gamma + 2) * math.sqrt(gamma + 3))


def gamma_of(length: float) -> float:
    """Returns the γ of a length σ_rel in (0, LONGEST]: the largest root of (γ + 2)² (γ + 3) σ_rel² = γ + 1."""
    inverse = length**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return max(float(roots.real.max()), 0.0)


def decay(gamma: float, n: int) -> float:
    """Returns the factor of the old average at update n, counted from 1: (1 − 1/n)^{γ+1}."""
    return float((1 - 1 / n) ** (gamma + 1))


def inner_product(one: Profile, other: Profile) -> float:
    """Returns ∫ p_1(τ) p_2(τ) dτ = (γ_1 + 1) (γ_2 + 1)/(γ_1 + γ_2 + 1) · (a/b)^{γ_b}/b.

    a ≤ b are the two n, and γ_b is the exponent of the profile with n = b.
    """
    early, late = sorted((one, other))
    scale = (one.gamma + 1) * (other.gamma + 1) / (one.gamma + other.gamma + 1)
    return float(scale * (early.n / late.n) ** late.gamma / late.n)


def combine(kept: Sequence[Profile], wanted: Profile) -> tuple[list[float], float]:
    """Returns how kept averages are combined into the wanted one, by least squares of their profiles.

    The factors x_i minimize ‖Σ_i x_i p_i − p‖² under Σ_i x_i = 1, so that weights that never moved are rebuilt exactly.
    Karras et al. leave the sum free.

    Returns:
        The factor of each kept average, and the relative error ‖Σ_i x_i p_i − p‖/‖p‖ of the combined profile.
    """
    gram = torch.tensor([[inner_product(a, b) for b in kept] for a in kept], dtype=torch.float64)
    right = torch.tensor([inner_product(a, wanted) for a in kept], dtype=torch.float64)
    square = inner_product(wanted, wanted)
    unit = (gram.diagonal() / square).rsqrt()  # x_i = unit_i y_i, where all y_i have one scale
    scaled, border = unit[:, None] * gram * unit / square, unit[:, None]
    corner = torch.zeros(1, 1, dtype=torch.float64)
    system = torch.cat([torch.cat([scaled, border], 1), torch.cat([border.T, corner], 1)])  # with a Lagrange multiplier
    target = torch.cat([unit * right / square, torch.ones(1, dtype=torch.float64)])
    factors: Tensor = unit * torch.linalg.lstsq(system, target, driver="gelsd").solution[:-1]
    error = square - 2 * factors @ right + factors @ gram @ factors
    return factors.tolist(), math.sqrt(max(float(error) / square, 0.0))
