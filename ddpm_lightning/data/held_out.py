"""Splits of data that come without: every so-many-th image tests."""

import numpy as np
from jaxtyping import Int64

from ddpm_lightning.errors import UserError, check_whole

Places = Int64[np.ndarray, "n"]
"""Places in a data set, ascending."""


def check_test_every(test_every: int) -> None:
    """Raises UserError unless something is left to train on."""
    check_whole("data.test_every", test_every, 2, "every so-many-th image tests, and the others train; use 10")


def places_of(split: str, n: int, test_every: int, where: str) -> Places:
    """The places of a split among the n images that are there, in order. Raises UserError where none would test."""
    if n < test_every:
        raise UserError(
            f"{where} holds {n} images, of which every {test_every}th would test, so none; give at "
            f"least {test_every}, or another data.test_every="
        )
    tests = np.arange(n) % test_every == test_every - 1
    return np.flatnonzero(tests if split == "test" else ~tests)
