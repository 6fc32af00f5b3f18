"""Draws the series of a benchmark."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter


def draw_series(series: list[dict[str, Any]], path: Path) -> None:
    """Writes a picture with a panel for each series, on logarithmic axes."""
    figure = Figure(figsize=(3.2 * len(series), 3), layout="constrained")
    for axes, each in zip(figure.subplots(1, len(series), squeeze=False)[0], series, strict=True):
        _draw(axes, each)
    figure.savefig(path, dpi=150)


def _draw(axes: Axes, series: dict[str, Any]) -> None:
    places, values = series["places"], series["values"]
    medians = [value["median"] for value in values]
    around = [[abs(value[end] - value["median"]) for value in values] for end in ("lower", "upper")]
    axes.set(xlabel=series["along"], ylabel=series["unit"], title=series["what"], xscale="log", yscale="log")
    axes.errorbar(places, medians, around, marker="o", label="measured, quartiles")
    in_proportion = [medians[0] * place / places[0] for place in places]
    axes.plot(places, in_proportion, linestyle=":", color="grey", label="in proportion")
    axes.set_xticks(places, [f"{place:g}" for place in places], fontsize="small")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", labelsize="small")
    axes.title.set_fontsize("small")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
