"""Tells users how to quote an option that Hydra's grammar cannot read."""

from collections.abc import Iterable

from hydra.errors import OverrideParseException

from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.runtime.command_line import option, override, reads_as

FORM = "options are name=value, such as seed=1"


def check_named(options: Iterable[str]) -> None:
    """Raises UserError for an option without a name."""
    for each in options:
        if each.lstrip("+~").startswith("="):
            raise UserError(f"{shown(each)} names no option; {FORM}")


def how_to_quote(error: OverrideParseException) -> str:
    """Returns a sentence that shows the option with the quotes that Hydra and the shell need."""
    name, equals, value = error.override.partition("=")
    if not equals:
        return f"{shown(name)} is no option; {FORM}"
    if not reads_as(override(name, value), value):
        return f"Hydra cannot read {shown(error.override)}; {FORM}"
    return (
        f"Hydra cannot read {shown(error.override)}, because brackets, quotes, =, ~ and some other characters mean "
        f"something to it; if the value is a text, quote it for Hydra and for the shell: {option(name, value)}"
    )
