"""Writes image files to read and to train on."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, number: int, kind: str, size: tuple[int, int]) -> list[Path]:
    """Writes images of smooth colours and a little noise. Their JPEGs are about as large as photographs'."""
    draws = np.random.default_rng(0)
    paths = [folder / f"{i}.{kind}" for i in range(number)]
    for path in paths:
        coarse = Image.fromarray(draws.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        grain = draws.normal(0, 6, (size[1], size[0], 3))
        Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(path)
    return paths
