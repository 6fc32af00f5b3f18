"""Figures of matplotlib as pictures."""

import io
from typing import Any

from PIL import Image


def new_figure() -> tuple[Any, Any]:
    """A figure with one pair of axes and a faint grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return figure, axes


def as_image(figure: Any) -> Image.Image:
    """The figure as a picture, 150 dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return Image.open(buffer)
