"""How figures are laid out: a grid of images with words at its sides, a curve, and a sentence below either."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ddpm_lightning.training.pictures import picture
from ddpm_lightning.typing import Pixels

DOTS = 100
"""An inch."""

WHITE = 255


Cells = Sequence[Sequence[torch.Tensor | None]]
"""Images, [c, h, w] in 0..255, row by row; None is a gap."""


def grid(cells: Cells, columns: Sequence[str], rows: Sequence[str], sentence: str) -> Any:
    """A figure of images, with a word for each column and each row, and a sentence below."""
    image = np.asarray(picture(_flat(cells), columns=len(cells[0])))
    height, width = image.shape[:2]
    scale = max(1, math.ceil(600 / width))
    figure = new_figure(scale * width / DOTS + 1.2, scale * height / DOTS + 1.1)
    axes = figure.add_subplot()
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks(_middles(width, len(columns)), columns, fontsize="small")
    axes.set_yticks(_middles(height, len(rows)), rows, fontsize="small")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    say(figure, sentence)
    return figure


def _flat(cells: Cells) -> Pixels:
    like = next(cell for row in cells for cell in row if cell is not None)
    gap = torch.full_like(like, WHITE)
    return torch.stack([gap if cell is None else cell for row in cells for cell in row]).cpu()


def _middles(length: int, count: int) -> list[float]:
    return [(place + 0.5) * length / count - 0.5 for place in range(count)]


def new_figure(width: float = 8, height: float = 4.4) -> Any:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=DOTS)


def say(figure: Any, sentence: str) -> None:
    """Writes a sentence below the figure, which says what one sees."""
    figure.supxlabel(_wrapped(sentence, figure.get_figwidth()), fontsize="small", x=0.01, ha="left")


def _wrapped(sentence: str, inches: float) -> str:
    import textwrap

    return textwrap.fill(sentence, max(40, round(inches * 13)))


def save_figure(figure: Any, path: Path) -> None:
    """Writes a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=1.5 * DOTS)


def save_animation(frames: Sequence[Image.Image], path: Path, seconds: float = 6.0, hold: float = 2.0) -> None:
    """Writes a GIF that shows all frames in so many seconds, the last one longer, again and again."""
    each = round(1000 * seconds / len(frames))
    durations = [each] * (len(frames) - 1) + [round(1000 * hold)]
    first, *others = frames
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0)
