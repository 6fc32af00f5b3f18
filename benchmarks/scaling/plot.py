"""Draws the parts of a step's time by number of GPUs."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from benchmarks.scaling.hardware import ONE_RAIL, PER_NODE
from benchmarks.scaling.plan import Host, Step, fits_everywhere
from benchmarks.scaling.recipes import Recipe
from benchmarks.scaling.tables import host_of

MOST_GPUS = 64


def draw(record: dict[str, Any], recipes: list[Recipe], path: Path) -> None:
    """Draws a panel for each recipe: milliseconds of each part of a step by number of GPUs, at the recipe's batch."""
    figure = Figure(figsize=(4.2 * len(recipes), 4), layout="constrained")
    panels = figure.subplots(1, len(recipes), sharey=True)
    for axes, each in zip(panels, recipes, strict=True):
        _panel(axes, each, host_of(record, each))
    panels[0].set_ylabel("ms a step (calculated)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path, dpi=120)


def _panel(axes: Axes, each: Recipe, host: Host) -> None:
    gpus = [2**i for i in range(MOST_GPUS.bit_length()) if fits_everywhere(each, 2**i)]
    steps = [Step(each, n, host) for n in gpus]
    slow = [Step(each, n, host, ONE_RAIL) for n in gpus if n > PER_NODE]
    axes.plot(gpus, [1000 * step.seconds for step in steps], color="grey", linewidth=7, alpha=0.3, label="the step")
    axes.plot(gpus, [1000 * step.computing for step in steps], marker="o", label="forward and backward")
    several = [step for step in steps if step.gpus > 1]
    ours = [1000 * step.all_reduce for step in several]
    axes.plot([step.gpus for step in several], ours, marker="s", label="all-reduce: NVLink, then 400 GB/s a node")
    theirs = [1000 * step.all_reduce for step in slow]
    axes.plot([step.gpus for step in slow], theirs, marker="s", linestyle=":", label="all-reduce: 50 GB/s a node")
    axes.plot(gpus, [1000 * step.telling for step in steps], linestyle="--", label="host, as one core here needs")
    axes.plot(gpus, [1000 * step.reading for step in steps], marker="^", label="reading, one process a GPU")
    axes.axvline(PER_NODE * 2**0.5, color="black", linewidth=0.6)
    axes.text(PER_NODE * 1.5, 0.02, "several nodes", fontsize="x-small", transform=axes.get_xaxis_transform())
    axes.set(xscale="log", yscale="log", xlabel="H100s", title=f"{each.name}, batch {each.batch_size}")
    axes.xaxis.set_major_locator(FixedLocator(gpus))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.grid(alpha=0.3)
