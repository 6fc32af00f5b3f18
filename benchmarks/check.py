"""Compares ratios with the recorded ones. Seconds are not compared, because they depend on machine and day."""

from collections.abc import Iterator

from benchmarks.results import Record

TOLERANCE = 0.15
"""How far a ratio may fall below the lower quartile of the recorded one."""


def regressions(recorded: Record, now: Record) -> Iterator[str]:
    """Yields a sentence for each ratio that fell below the recorded one."""
    for before, after in zip(recorded["comparisons"], now["comparisons"], strict=True):
        least = before["ratio"]["lower"] * (1 - TOLERANCE)
        if after["ratio"]["median"] < least:
            yield (
                f"{after['what']}, {after['our_name']} against {after['their_name']}: {after['ratio']['median']:.3g}, "
                f"recorded {before['ratio']['median']:.3g}, at least {least:.3g}"
            )


def differences(recorded: Record, now: Record) -> Iterator[str]:
    """Yields what makes two records hard to compare, like another machine."""
    for key in ("cpu", "gpu", "cores", "torch"):
        if recorded["machine"][key] != now["machine"][key]:
            yield f"recorded with {key} {recorded['machine'][key]}, now {now['machine'][key]}"
