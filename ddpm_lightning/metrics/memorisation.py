"""Memorisation: whether generated images are nearer to training images than others are."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import Score, Value
from ddpm_lightning.typing import Distances, FeatureVectors, NeighbourDistances, Neighbours, SomeVectors


def nearest(of: FeatureVectors, among: Iterable[SomeVectors], k: int) -> tuple[NeighbourDistances, Neighbours]:
    """Finds the k nearest neighbours of each vector by Euclidean distance.

    Args:
        of: the vectors, [n, d].
        among: where to search, in batches, [_, d] each.
        k: how many neighbours; fewer are returned if there are not that many.

    Returns:
        The distances, ascending, [n, k], and the neighbours' indices in the concatenated batches, [n, k].
    """
    distances, places = torch.empty(len(of), 0, dtype=torch.float64), torch.empty(len(of), 0, dtype=torch.int64)
    first = 0
    for batch in among:
        search = NearestNeighbors(n_neighbors=min(k, len(batch)), algorithm="brute").fit(batch.double().numpy())
        near, where = search.kneighbors(of.double().numpy())
        distances = torch.cat([distances, torch.from_numpy(near)], dim=1)
        places = torch.cat([places, torch.from_numpy(where.astype(np.int64)) + first], dim=1)
        distances, order = distances.sort(dim=1, stable=True)
        distances, places = distances[:, :k], places.gather(1, order)[:, :k]
        first += len(batch)
    return distances, places


def share_nearer(generated: Distances, held_out: Distances) -> Value:
    """Returns the probability that a generated image is nearer to the training images than a held-out image is.

        P(d < d′) + ½ P(d = d′)

    It is ½ for a model whose images are as new as held-out ones, 1 for one that copies, and 0 for one whose images are
    farther from the training images than any real one.

    Args:
        generated: d, the distance of each generated image to its nearest training image, [n].
        held_out: d′, the same for held-out images, [m].

    Returns:
        The probability with its standard error by DeLong et al.

    References:
        Meehan et al. (2020), "A Non-Parametric Test to Detect Data-Copying in Generative Models".
        DeLong et al. (1988), "Comparing the Areas under Two or More Correlated Receiver Operating Characteristic
        Curves: A Nonparametric Approach".
    """
    d, other = generated.double().numpy(), held_out.double().numpy()
    of_generated = 1 - _places(d, other)
    of_held_out = _places(other, d)
    variance = of_generated.var(ddof=1) / len(d) + of_held_out.var(ddof=1) / len(other)
    return Value(float(of_generated.mean()), standard_error=float(np.sqrt(variance)))


def _places(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Returns for each value the share of `among` that is less, plus half of the share that is equal."""
    ordered = np.sort(among)
    less, not_more = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (less + not_more) / (2 * len(among))


class Authenticity(Score):
    """AuthPct: the percentage of authentic images. Copies are not authentic, so smaller is worse.

    A generated image is authentic if it is farther from its nearest training image than that one is from its own
    nearest. The real images must be the training images. Further images of the data do not reach 100.

    References:
        Alaa et al. (2022), "How Faithful is your Synthetic Data? Sample-level Metrics for Evaluating and Auditing
        Generative Models".
    """

    needs_features = True
    names = ("authpct",)

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        assert real.features is not None
        apart = nearest(real.features, [real.features], 2)[0][:, 1]  # the nearest one is the image itself
        distances, places = nearest(generated.features, [real.features], 1)
        authentic = 100 * (distances[:, 0] > apart[places[:, 0]]).double()
        return [Value(float(authentic.mean()), standard_error=float(authentic.std() / len(authentic) ** 0.5))]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n < 2:
            raise UserError(f"the percentage of {n} {which} image means nothing; ask for more")
