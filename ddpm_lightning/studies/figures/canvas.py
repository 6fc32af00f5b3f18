"""Layouts of figures: a grid of images with titles, curves with error bars, an animation."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ddpm_lightning.runtime.pictures import LEGIBLE, picture
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.typing import Pixels

DOTS_PER_INCH = 100
"""Resolution of a grid. Curves have 1.5 times as many."""

WHITE = 255

Cells = Sequence[Sequence[torch.Tensor | None] | torch.Tensor]
"""Rows of images, each [c, h, w] in 0..255. None leaves a gap."""

LARGEST_SIDE = 20_000
"""The most pixels of a picture's side."""


def pixels_across(count: int, length: int) -> int:
    """Returns about how many pixels `count` images of `length` pixels take side by side in a grid."""
    return count * (max(length, LEGIBLE) + 2)


def save_grid(cells: Cells, columns: Sequence[str], rows: Sequence[str], sentence: str, path: Path) -> None:
    """Writes a PNG of images, pixel for pixel, with titles of columns and rows, and a sentence below.

    Args:
        cells: The images, row by row.
        columns: A title for each column; it may have several lines.
        rows: A title for each row, or none at all.
        sentence: What the picture shows.
        path: The file to write.
    """
    from matplotlib.figure import Figure

    image = np.asarray(picture(_flat(cells), columns=len(cells[0])))
    height, width = image.shape[:2]
    left, right = (90, 20) if any(rows) else (20, 20)
    top = 16 + 15 * max(name.count("\n") + 1 for name in columns)
    below = textwrap.wrap(sentence, max(40, (left + width) // 7))
    whole = (left + width + right, top + height + 20 * (len(below) + 1))
    figure = Figure(figsize=(whole[0] / DOTS_PER_INCH, whole[1] / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    box = (left / whole[0], 1 - (top + height) / whole[1], width / whole[0], height / whole[1])
    axes = figure.add_axes(box)  # in whole pixels, so that none is resampled
    axes.imshow(image, interpolation="none", aspect="auto")
    axes.set_xticks(_middles(width, len(columns)), columns, fontsize=7)
    axes.set_yticks(_middles(height, len(rows)), rows, fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.text(left / whole[0], 10 / whole[1], "\n".join(below), fontsize=8, va="bottom")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _flat(cells: Cells) -> Pixels:
    """Stacks all cells row by row, with white images for the gaps."""
    first = next(cell for row in cells for cell in row if cell is not None)
    gap = torch.full_like(first, WHITE)
    return torch.stack([gap if cell is None else cell for row in cells for cell in row]).cpu()


def _middles(length: int, count: int) -> list[float]:
    return [(index + 0.5) * length / count - 0.5 for index in range(count)]


def save_curves(figure: Any, sentence: str, path: Path) -> None:
    """Writes a matplotlib figure as PNG, with a sentence below the curves that says what they show."""
    wrapped = textwrap.fill(sentence, round(figure.get_figwidth() * 13))
    figure.supxlabel(wrapped, fontsize="small", x=0.01, ha="left")
    figure.savefig(path, dpi=1.5 * DOTS_PER_INCH)


def draw_by_t(axes: Any, found: Mapping[int, MeanAndError], label: str) -> None:
    """Draws means against t, with their standard errors as bars. label: of the y axis."""
    draw_errors(axes, found)
    axes.set(xlabel="t", ylabel=label)


def draw_errors(axes: Any, found: Mapping[Any, MeanAndError], label: str | None = None) -> None:
    """Draws means against x, with their standard errors as bars. label: in the legend."""
    means, errors = [each.mean for each in found.values()], [each.standard_error for each in found.values()]
    axes.errorbar(list(found), means, errors, marker="o", markersize=4, capsize=3, label=label)


def mark(axes: Any, xs: Sequence[int]) -> None:
    """Puts ticks at these x and nowhere else. A logarithmic axis would choose others."""
    axes.set_xticks(xs, xs)
    axes.set_xticks([], minor=True)


def save_animation(frames: Sequence[Image.Image], path: Path, seconds: float = 6.0, hold: float = 2.0) -> None:
    """Writes an endless GIF of `seconds` in all, whose last frame is shown for `hold` seconds."""
    durations = [round(1000 * seconds / len(frames))] * (len(frames) - 1) + [round(1000 * hold)]
    first, *others = frames
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0)
