"""Writes photographs to disk, cut from scikit-learn's two, so that no download is needed."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

LARGEST_CUT = 427
"""Pixels of the shorter side of the photographs."""


@cache
def _both() -> list[np.ndarray]:
    return list(load_sample_images().images)


def photograph(number: int, side: int) -> Image.Image:
    """Returns a random square of a photograph, resized to side × side. It depends on the number alone."""
    whole = Image.fromarray(_both()[number % 2])
    draws = np.random.default_rng(number)
    cut = int(draws.integers(256, LARGEST_CUT))
    left, top = (int(draws.integers(length - cut + 1)) for length in whole.size)
    return whole.crop((left, top, left + cut, top + cut)).resize((side, side), Image.Resampling.LANCZOS)


def write_photographs(folder: Path, n: int, side: int, suffix: str) -> Path:
    """Writes 00000.jpg, … into a subfolder, because torchvision's ImageFolder needs one for each class."""
    (folder / "all").mkdir(parents=True)
    for number in range(n):
        photograph(number, side).save(folder / "all" / f"{number:05d}.{suffix}", quality=95)
    return folder


def write_numbers(folder: Path, n: int) -> Path:
    """Writes tiny images whose colours encode their numbers."""
    folder.mkdir(parents=True)
    for number in range(n):
        Image.new("RGB", (2, 2), (number >> 16, number >> 8 & 255, number & 255)).save(folder / f"{number:06d}.png")
    return folder
