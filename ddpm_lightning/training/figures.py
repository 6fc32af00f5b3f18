"""Figures of matplotlib as pictures."""

import io
from typing import Any

from PIL import Image


def new_figure() -> tuple[Any, Any]:
    """A figure with one pair of axes and a faint grid."""
    figure, (axes,) = panels(1)
    return figure, axes


def panels(count: int, width: float = 7, height: float = 4) -> tuple[Any, list[Any]]:
    """A figure of so many inches, with pairs of axes side by side, each with a faint grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    all_axes = [figure.add_subplot(1, count, place + 1) for place in range(count)]
    for axes in all_axes:
        axes.grid(alpha=0.3)
    return figure, all_axes


def write_plainly(axis: Any) -> None:
    """0.5 and 3 on a logarithmic axis, and not 3 × 10⁰."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 5, 7)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def as_image(figure: Any) -> Image.Image:
    """The figure as a picture, 150 dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return Image.open(buffer)
