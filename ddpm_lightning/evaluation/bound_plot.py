"""Plots the bound: its terms by t, the rate along the chain, and rate against distortion (the paper's Fig. 5)."""

from pathlib import Path
from typing import Any

import numpy as np


def draw_bound(arrays: dict[str, np.ndarray], path: Path, label: str) -> None:
    """Writes a PNG of three plots: the terms by t, rate and distortion along the chain, and rate against distortion.

    Args:
        arrays: the means that `BoundByStep.arrays` returns, in bits/dim, or 0..255 for "rmse".
        path: where to write the PNG.
        label: names the variance in the first plot.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    terms, rate, trade = figure.subplots(1, 3)
    _terms(terms, arrays, label)
    _along_the_chain(rate, arrays)
    _rate_against_distortion(trade, arrays)
    figure.savefig(path, dpi=150)


def _terms(axes: Any, arrays: dict[str, np.ndarray], label: str) -> None:
    axes.loglog(arrays["t"][1:], arrays["term"][1:])
    axes.set(xlabel="t", ylabel=r"$L_{t-1}$ (bits/dim)", title=f"Terms of the bound: {arrays['bound']:.3f} bits/dim")
    decoder, prior = float(arrays["term"][0]), float(arrays["prior"])
    axes.annotate(f"variance {label}; $L_0$ = {decoder:.2g}, $L_T$ = {prior:.2g}", (0.97, 0.93), **_CORNER)


def _along_the_chain(axes: Any, arrays: dict[str, np.ndarray]) -> None:
    steps = len(arrays["t"]) - arrays["t"] + 1
    axes.plot(steps, arrays["rate"], color="tab:blue")
    axes.set(xlabel="reverse steps taken (T − t + 1)", title="As the chain runs")
    axes.set_ylabel("rate (bits/dim)", color="tab:blue")
    other = axes.twinx()
    other.plot(steps, arrays["rmse"], color="tab:red")
    other.set_ylabel("distortion (RMSE of 0–255)", color="tab:red")


def _rate_against_distortion(axes: Any, arrays: dict[str, np.ndarray]) -> None:
    axes.plot(arrays["rate"], arrays["rmse"])
    axes.set(xlabel="rate (bits/dim)", ylabel="distortion (RMSE of 0–255)", title="Rate against distortion")
    axes.grid(alpha=0.3)


_CORNER: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "fontsize": "small"}
