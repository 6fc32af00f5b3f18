"""Words of the command line without a `name=`: `ddpm runs DIR` means `ddpm runs dir=[DIR]`."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ddpm_lightning.runtime.command_line import override

FOLDERS = {"runs": "dir", "compare": "runs"}
"""The option that the first words of a command stand for, by command. Its value is a list of folders."""

TEXTS = ("where",)
"""Options whose text is quoted for Hydra, which reads < and > as something else."""


def as_options(command: str, words: Sequence[str]) -> list[str]:
    """Returns the words of a command line as options that Hydra reads."""
    folders = list(takewhile(is_folder, words)) if command in FOLDERS else []
    options = [quoted(word) if word.partition("=")[0] in TEXTS else word for word in words[len(folders) :]]
    listed = ",".join(override("", folder).removeprefix("=") for folder in folders)
    return [f"{FOLDERS[command]}=[{listed}]", *options] if folders else options


def is_folder(word: str) -> bool:
    """Returns whether a word is no flag and no option. The name of a folder that exists may hold a `=`."""
    return not word.startswith("-") and ("=" not in word or Path(word).exists())


def quoted(option: str) -> str:
    """Returns an option with the quotes without which Hydra cannot read its value, or would read several values."""
    name, _, text = option.partition("=")
    try:
        several = OverridesParser.create().parse_override(option).is_sweep_override()
    except HydraException:
        several = True
    return override(name, text) if several else option
