"""Paths, options and commands as a user types them in the folder where the command was given."""

import os
import re
import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

import ddpm_lightning

SOURCE = Path(ddpm_lightning.__file__).parents[1]
"""The folder that holds the package: a checkout's root, or site-packages."""


def started_in() -> Path:
    """Returns the folder where the command was given. With hydra.job.chdir=true, the command works in another one."""
    return Path(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else Path.cwd()


def relative(path: Path) -> Path:
    """Returns the path relative to the folder where the command was given, or unchanged if it lies elsewhere.

    It is for messages. A command that works in another folder (hydra.job.chdir=true) cannot open it.
    """
    return Path(os.path.relpath(path, started_in())) if path.is_relative_to(started_in()) else path


def override(name: str, value: str | Path) -> str:
    """Returns `name=value` in Hydra's grammar, with quotes where it would read the bare value as something else.

    Interpolations (`${…}`) in the value stay interpolations.
    """
    text = str(value)
    if reads_as(f"{name}={text}", text):
        return f"{name}={text}"
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', r"\""), text)
    return f'{name}="{escaped}"'


def reads_as(typed: str, text: str) -> bool:
    """Returns whether Hydra reads this text as the value of a typed option."""
    try:
        return OverridesParser.create().parse_override(typed).value() == text
    except HydraException:
        return False


def option(name: str, value: str | Path) -> str:
    """Returns `name=value` quoted for Hydra and for a shell."""
    return shlex.quote(override(name, value))


def command_for(script: str) -> str:
    """Returns the shell command that runs a script such as train.py in the folder where this command was given.

    This is `python train.py` in a checkout. Elsewhere it is `ddpm train`, or the script's whole path without `ddpm`.
    """
    program = relative(Path(sys.executable))
    ours = SOURCE / script
    if (started_in() / script).resolve() == ours:
        return shlex.join([str(program), script])
    ddpm = program.with_name("ddpm")
    if (started_in() / ddpm).is_file():
        return shlex.join([str(ddpm), ours.stem])
    words = [str(relative(ours))] if ours.is_file() else ["-m", "ddpm_lightning.cli", ours.stem]
    return shlex.join([str(program), *words])
