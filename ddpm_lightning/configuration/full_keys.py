"""Names options in messages by their whole keys, as users type them: `sampler.eta=2`, where a class says `eta=2`."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ddpm_lightning.errors import UserError


def full_key(above: str, name: object) -> str:
    """Returns the key of an option below another key; above="" is the top of the configuration."""
    return f"{above}.{name}" if above else str(name)


@contextmanager
def naming_options(above: str, names: Iterable[object]) -> Iterator[None]:
    """Writes `above.name=` for each `name=` in the message of a UserError that the block raises."""
    try:
        yield
    except UserError as error:
        error.args = (_with_full_keys(str(error), above, names), *error.args[1:])
        raise


def _with_full_keys(words: str, above: str, names: Iterable[object]) -> str:
    alternatives = "|".join(re.escape(str(name)) for name in names)
    bare = rf"(?<![\w./-])(?:{alternatives})="  # not the end of a longer name
    return re.sub(bare, lambda found: full_key(above, found[0]), words) if alternatives and above else words
