"""The small-data distance rises with every spoiling of real images, from a floor between two halves of them."""

from itertools import pairwise

import pytest

from benchmarks.mathematics.ruler import measure
from ddpm_lightning.data import fashion_mnist

NO_FASHION = pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed"
)


@pytest.mark.parametrize("name", ["digits", pytest.param("fashion_mnist", marks=[NO_FASHION, pytest.mark.slow])])
def test_distance_rises_with_strength(name: str) -> None:
    floor, spoiled = measure(name)
    assert floor > 0
    for distances in spoiled.values():
        for weaker, stronger in pairwise([floor, *distances]):
            assert stronger > weaker
        assert distances[-1] > 5 * floor
