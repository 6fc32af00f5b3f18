"""The one exception for mistakes of the user; the command line shows it as a sentence, without a traceback."""


class UserError(ValueError):
    """A choice that cannot work: the message says the value, the bound, the reason and the mend."""


class Diverged(UserError):
    """The model makes NaN or infinity; another step would not mend it.

    step: how many optimizer steps were made before, if that is not the trainer's present step.
    """

    def __init__(self, words: str, step: int | None = None) -> None:
        super().__init__(words)
        self.step = step


LARGEST = 2**63 - 1
"""The largest whole number that a tensor holds."""


def check_whole(name: str, value: object, least: int, advice: str) -> None:
    """Raises UserError unless value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name}={shown(value)} is not a whole number of at least {least}: {advice}")
    check_at_most(name, value, LARGEST, "PyTorch counts no further; choose a smaller number")


def check_at_most(name: str, value: int, most: int, advice: str) -> None:
    """Raises UserError where a whole number is so large that the machine would give up in the middle."""
    if value > most:
        raise UserError(f"{name}={shown(value)} exceeds {most}: {advice}")


def check_positive(name: str, value: object, advice: str) -> None:
    """Raises UserError unless value is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UserError(f"{name}={value} is not a number above 0: {advice}")


def check_boolean(name: str, value: object, advice: str) -> None:
    """Raises UserError unless value is true or false."""
    if not isinstance(value, bool):
        raise UserError(f"{name}={value} is neither true nor false; {advice}")


def shown(value: object) -> str:
    """The value, if it is not longer than the sentence around it; else how it begins."""
    words = str(value)
    return words if len(words) <= 160 else f"{words[:160]} …"
