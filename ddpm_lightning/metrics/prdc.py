"""Density and coverage beside precision and recall, from the nearest neighbours of features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.memorisation import nearest
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import PrecisionRecall, Value

AT_ONCE = 256
"""Generated images that are compared with all real ones at once."""

STRICTLY = 1 - 1e-9
"""Shrinks the radius of a ball, so that rounding does not decide whether a point on its surface lies inside."""


@dataclass(frozen=True)
class PrecisionRecallDensityCoverage(PrecisionRecall):
    """Precision, recall, density and coverage, as PyPI's `prdc` computes them.

    The ball of a real image reaches to its k-th nearest real neighbour. Density is the number of balls that a generated
    image lies in, over k, on average. It is 1 in expectation for further real images, and may exceed 1. Coverage is the
    share of balls that hold a generated image. It is 1 − 2⁻ᵏ in expectation for as many further real images.

    Precision and recall are torch-fidelity's, as in `PrecisionRecall`. They count a point on the surface of a ball as
    inside; `prdc`, density and coverage do not.

    Args:
        k: which neighbour, at least 1; the paper takes 5.

    References:
        Naeem et al. (2020), "Reliable Fidelity and Diversity Metrics for Generative Models".
    """

    names = ("precision", "recall", "density", "coverage")

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        assert real.features is not None
        ours, theirs = generated.features, real.features
        radii = nearest(theirs, [theirs], self.k + 1)[0][:, self.k] * STRICTLY  # the first one is itself
        balls = [(torch.cdist(some.double(), theirs.double()) < radii).sum(1) for some in torch.split(ours, AT_ONCE)]
        holds_one = nearest(theirs, [ours], 1)[0][:, 0] < radii
        density, coverage = torch.cat(balls).double().mean() / self.k, holds_one.double().mean()
        return [*super().__call__(generated, real), Value(float(density)), Value(float(coverage))]
