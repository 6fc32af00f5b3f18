"""Makes matplotlib figures and turns them into pictures."""

import io
import math
from typing import Any

from PIL import Image


def new_figure() -> tuple[Any, Any]:
    """Returns a figure with one pair of axes and a faint grid."""
    figure, (axes,) = panels(1)
    return figure, axes


def panels(count: int, width: float = 7, height: float = 4) -> tuple[Any, list[Any]]:
    """Returns a figure of `width` by `height` inches, and its `count` plots side by side, each with a faint grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    all_axes = [figure.add_subplot(1, count, place + 1) for place in range(count)]
    for axes in all_axes:
        axes.grid(alpha=0.3)
    return figure, all_axes


def write_plainly(axis: Any) -> None:
    """Labels a logarithmic axis with a few plain numbers, 0.5 and 3 instead of 3 × 10⁰. Call it after all is drawn."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axis.axes.autoscale_view()
    lowest, highest = axis.get_view_interval()
    decades = math.log10(highest / lowest)
    digits = (1, 2, 3, 4, 5, 7) if decades < 1.5 else (1, 2, 5) if decades < 3 else (1,)
    axis.set_major_locator(MaxNLocator(6) if decades < 0.7 else LogLocator(subs=digits))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def as_image(figure: Any) -> Image.Image:
    """Returns the figure as a picture with 150 dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format="png")
    return Image.open(buffer)
