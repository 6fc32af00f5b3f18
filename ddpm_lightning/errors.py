"""UserError, the exception for mistakes of the user, and the checks of arguments that raise it.

The command line shows a UserError as one sentence without a traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeGuard

LARGEST_INTEGER = 2**63 - 1
"""The largest integer that a tensor holds."""


class UserError(ValueError):
    """An invalid choice of the user; the message names the value, the bound, the reason and the remedy."""


class Diverged(UserError):
    """The model returns NaN or infinity, and further steps cannot repair it.

    Args:
        words: the message.
        step: how many optimizer steps were made before, if that is not the trainer's present step.
    """

    def __init__(self, words: str, step: int | None = None) -> None:
        super().__init__(words)
        self.step = step


def check_whole(name: str, value: object, least: int, advice: str, most: int | None = None) -> None:
    """Raises UserError unless value is an integer in least..most; most=None allows what a tensor can hold."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name}={shown(value)} is not a whole number of at least {least}: {advice}")
    if most is None:
        check_at_most(name, value, LARGEST_INTEGER, "PyTorch has no larger integers; choose a smaller number")
    else:
        check_at_most(name, value, most, advice)


def check_at_most(name: str, value: int, most: int, advice: str) -> None:
    """Raises UserError if value exceeds most."""
    if value > most:
        raise UserError(f"{name}={shown(value)} exceeds {most}: {advice}")


def check_positive(name: str, value: object, advice: str) -> None:
    """Raises UserError unless value is a number above 0."""
    if not _is_number(value) or not value > 0:
        raise UserError(f"{name}={shown(value)} is not a number above 0: {advice}")


def check_interval(name: str, value: object, low: float, high: float, advice: str, ends: str = "[]") -> None:
    """Raises UserError unless value is a number between low and high.

    Args:
        name: how the user calls the value.
        value: what the user gave.
        low, high: the ends of the interval.
        advice: the reason and the remedy, for the message.
        ends: which ends belong to the interval: "[]", "[)", "(]" or "()".
    """
    closed_ends = {end for end, bracket in ((low, ends[0]), (high, ends[1])) if bracket in "[]"}
    if not _is_number(value) or not (low < value < high or value in closed_ends):
        raise UserError(f"{name}={shown(value)} lies outside {ends[0]}{low:g}, {high:g}{ends[1]}: {advice}")


def check_boolean(name: str, value: object, advice: str) -> None:
    """Raises UserError unless value is true or false."""
    if not isinstance(value, bool):
        raise UserError(f"{name}={shown(value)} is neither true nor false; {advice}")


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Returns "did you mean …?" with at most three of the names, the nearest first; if none is near, all of them."""
    known = list(names)
    near = near_names(name, known, cutoff)
    return f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(known)}"


def near_names(name: str, names: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Returns at most three of the names: those most like `name`, then those that start with it."""
    known = list(names)
    longer = [each for each in known if name and each.startswith(name)]
    return list(dict.fromkeys([*get_close_matches(name, known, n=3, cutoff=cutoff), *longer]))[:3]


def shown(value: object) -> str:
    """Returns the value as text, cut after 160 characters."""
    words = str(value)
    return words if len(words) <= 160 else f"{words[:160]} …"


def counted(n: int, one: str, several: str | None = None) -> str:
    """Returns a number with its noun, as "1 image" or "2 images". several: the plural, if it is not `one` + "s"."""
    return f"{n} {one if n == 1 else several or f'{one}s'}"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
