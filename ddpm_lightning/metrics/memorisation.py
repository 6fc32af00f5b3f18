"""Whether a model repeats its training data: are its images nearer to them than images that it has not seen?"""

from collections.abc import Iterable

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.typing import Distances, FeatureVectors, NeighbourDistances, Neighbours, SomeVectors


def nearest(of: FeatureVectors, among: Iterable[SomeVectors], k: int) -> tuple[NeighbourDistances, Neighbours]:
    """The Euclidean distances of each vector, [n, d], to its k nearest among others, which come batch by batch,
    ascending, and which these are: [n, k] both."""
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
    """P(d < d') + ½ P(d = d') for the distance d of a generated image to its nearest training image and that of a
    held-out one, d' (Meehan et al., 2020): ½ where the model's images are as new as the held-out ones, 1 where they
    are copies, 0 where they are farther off than any real one. Its standard error is DeLong's (1988)."""
    d, other = generated.double().numpy(), held_out.double().numpy()
    of_generated = 1 - _places(d, other)
    of_held_out = _places(other, d)
    variance = of_generated.var(ddof=1) / len(d) + of_held_out.var(ddof=1) / len(other)
    return Value(float(of_generated.mean()), float(np.sqrt(variance)))


def _places(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Of each value, the share of the others that are less, and half of those that are equal."""
    ordered = np.sort(among)
    less, not_more = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (less + not_more) / (2 * len(among))
