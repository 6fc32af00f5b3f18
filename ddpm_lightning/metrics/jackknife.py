"""Standard errors of any score of images, by the jackknife: the score without each group of images.

A bootstrap would repeat images: that adds to the bias of a Fréchet distance, and an image would be its own neighbour.

References:
    Efron & Stein (1981), "The Jackknife Estimate of Variance".
    Shao & Wu (1989), "A General Theory for Jackknife Variance Estimation".
"""

import torch
from torch import Tensor

from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import Score, Value


def jackknife(score: Score, generated: Extracted, real: Reference, groups: int) -> list[Value]:
    """Returns the values of a score with their standard errors over generated images.

    Args:
        score: the score, which is computed 1 + groups times.
        generated: features and logits of generated images. They are shuffled, for their order may not be random.
        real: the real images, which stay as they are.
        groups: how many groups, at least 2.
    """
    shuffled = chosen(generated, torch.randperm(len(generated.features), generator=torch.Generator().manual_seed(0)))
    without = without_groups(score, shuffled, real, groups)
    values = zip(score(shuffled, real), without.T, strict=True)
    return [value._replace(standard_error=standard_error(left)) for value, left in values]


def without_groups(score: Score, generated: Extracted, real: Reference, groups: int) -> Tensor:
    """Returns the values of a score without each group of images, float64 [groups, number of values].

    Args:
        score: the score.
        generated: features and logits of generated images. Image i belongs to group i modulo `groups`.
        real: the real images, which stay as they are.
        groups: how many groups, at least 2.
    """
    group = torch.arange(len(generated.features)) % groups
    rows = [[each.value for each in score(chosen(generated, group != g), real)] for g in range(groups)]
    return torch.tensor(rows, dtype=torch.float64)


def standard_error(values: Tensor) -> float:
    """Returns the jackknife's standard error, √((g − 1)/g · Σ (v_i − v̄)²).

    Args:
        values: A number without each of g groups, or a difference of two such numbers, [g].
    """
    g = len(values)
    return float(((g - 1) / g * (values - values.mean()).square().sum()).sqrt())


def chosen(images: Extracted, which: Tensor) -> Extracted:
    """Returns the features and logits of some of the images. `which` has their indices, or whether each is taken."""
    return Extracted(images.features[which], images.logits[which])
