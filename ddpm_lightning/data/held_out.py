"""Test splits for data that have none: every k-th image."""

import numpy as np
from jaxtyping import Int64

from ddpm_lightning.errors import UserError, check_whole, counted

Places = Int64[np.ndarray, "n"]
"""Places in a data set, ascending: [n]."""


def check_test_every(test_every: int) -> None:
    """Raises UserError unless test_every is at least 2, so that images are left to train on."""
    check_whole("data.test_every", test_every, 2, "every k-th image tests, and the others train; use 10")


def places_of(split: str, n: int, test_every: int, where: str) -> Places:
    """Returns the places of a split among n images.

    Args:
        split: "train" or "test".
        n: the number of images.
        test_every: every how many-th image is in the test split.
        where: where the images lie, for the message.

    Raises:
        UserError: there are too few images for a test split.
    """
    if n < test_every:
        raise UserError(
            f"{where} holds {counted(n, 'image')}, of which every {test_every}th would test, so none; give at "
            f"least {test_every}, or another data.test_every="
        )
    tests = np.arange(n) % test_every == test_every - 1
    return np.flatnonzero(tests if split == "test" else ~tests)
