"""How figures are laid out: a grid of images with words at its sides, a curve with errors, a sentence below either."""

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

DOTS = 100
"""Pixels of a grid an inch; curves have half as many again."""

WHITE = 255

Cells = Sequence[Sequence[torch.Tensor | None]]
"""Images, [c, h, w] in 0..255, row by row; None is a gap."""

LARGEST = 20_000
"""Pixels of a picture's side."""


def side(count: int, length: int) -> int:
    """How many pixels so many images take side by side, about."""
    return count * (max(length, LEGIBLE) + 2)


def save_grid(cells: Cells, columns: Sequence[str], rows: Sequence[str], sentence: str, path: Path) -> None:
    """Writes a PNG of images, pixel for pixel, with a word for each column and each row (or no row), and a sentence
    below."""
    from matplotlib.figure import Figure

    image = np.asarray(picture(_flat(cells), columns=len(cells[0])))
    height, width = image.shape[:2]
    left, right = (90, 20) if any(rows) else (20, 20)
    top = 16 + 15 * max(name.count("\n") + 1 for name in columns)
    below = textwrap.wrap(sentence, max(40, (left + width) // 7))
    whole = (left + width + right, top + height + 20 * (len(below) + 1))
    figure = Figure(figsize=(whole[0] / DOTS, whole[1] / DOTS), dpi=DOTS)
    place = (left / whole[0], 1 - (top + height) / whole[1], width / whole[0], height / whole[1])
    axes = figure.add_axes(place)  # in whole pixels, so that none is resampled
    axes.imshow(image, interpolation="none", aspect="auto")
    axes.set_xticks(_middles(width, len(columns)), columns, fontsize=7)
    axes.set_yticks(_middles(height, len(rows)), rows, fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.text(left / whole[0], 10 / whole[1], "\n".join(below), fontsize=8, va="bottom")
    figure.savefig(path, dpi=DOTS)


def _flat(cells: Cells) -> Pixels:
    like = next(cell for row in cells for cell in row if cell is not None)
    gap = torch.full_like(like, WHITE)
    return torch.stack([gap if cell is None else cell for row in cells for cell in row]).cpu()


def _middles(length: int, count: int) -> list[float]:
    return [(place + 0.5) * length / count - 0.5 for place in range(count)]


def save_curves(figure: Any, sentence: str, path: Path) -> None:
    """Writes a PNG with a sentence below the curves, which says what one sees."""
    wrapped = textwrap.fill(sentence, round(figure.get_figwidth() * 13))
    figure.supxlabel(wrapped, fontsize="small", x=0.01, ha="left")
    figure.savefig(path, dpi=1.5 * DOTS)


def by_t(axes: Any, found: Mapping[int, MeanAndError], label: str) -> None:
    """A curve of means against t, with their standard errors as bars."""
    draw_errors(axes, found)
    axes.set(xlabel="t", ylabel=label)


def draw_errors(axes: Any, found: Mapping[int, MeanAndError], label: str | None = None) -> None:
    """A curve of means, with their standard errors as bars."""
    means, errors = [each.mean for each in found.values()], [each.standard_error for each in found.values()]
    axes.errorbar(list(found), means, errors, marker="o", markersize=4, capsize=3, label=label)


def mark(axes: Any, xs: Sequence[int]) -> None:
    """Ticks at these x alone, which a logarithmic axis would not choose."""
    axes.set_xticks(xs, xs)
    axes.set_xticks([], minor=True)


def save_animation(frames: Sequence[Image.Image], path: Path, seconds: float = 6.0, hold: float = 2.0) -> None:
    """Writes a GIF that shows all frames in so many seconds, the last one longer, again and again."""
    durations = [round(1000 * seconds / len(frames))] * (len(frames) - 1) + [round(1000 * hold)]
    first, *others = frames
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0)
