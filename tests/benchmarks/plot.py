"""Pictures of what grows."""

from pathlib import Path

from matplotlib.figure import Figure


def draw_series(series: list[dict], path: Path) -> None:  # type: ignore[type-arg]
    """One panel a series, both axes logarithmic; the dotted line is linear growth from the first place."""
    figure = Figure(figsize=(3.2 * len(series), 3), layout="constrained")
    for axes, each in zip(figure.subplots(1, len(series), squeeze=False)[0], series, strict=True):
        places, medians = each["places"], [value["median"] for value in each["values"]]
        axes.set(title=each["what"], xlabel=each["along"], ylabel=each["unit"], xscale="log", yscale="log")
        axes.title.set_fontsize("small")
        axes.plot(places, medians, marker="o")
        axes.plot(places, [medians[0] * place / places[0] for place in places], linestyle=":", color="grey")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
