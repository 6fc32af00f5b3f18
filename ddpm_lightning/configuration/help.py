"""Writes the text of `--help`: the groups that a command takes, with a line about each."""

import sys
from collections.abc import Callable

from omegaconf import DictConfig

from ddpm_lightning.configuration.groups import CONF, GROUPS, groups_of

TEMPLATE = """{command}: every option is GROUP=NAME or KEY=VALUE; -m with values between commas runs a sweep.

Groups, with the chosen option in brackets:

{groups}

Values of the chosen options (KEY.KEY=VALUE changes one):

$CONFIG"""

OWN_FILE = """Usage: {options}"""
"""The text of a command without groups: the options of its file in conf/, each with its comment."""


def own_options(name: str) -> str:
    """Returns the part of a command's file that has its own options, after the first line, which shows the usage."""
    usage, _, rest = (CONF / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")
    options = rest.partition("  - _self_\n")[2].partition("hydra:")[0]
    return f"{usage.removeprefix('# ')}\n{options}"


def asks_for_help() -> bool:
    """Returns whether --help or -h was typed."""
    return not {"--help", "-h"}.isdisjoint(sys.argv[1:])


def help_template(name: str, cfg: DictConfig, options_of: Callable[[str], list[str]]) -> str:
    """Returns the text of `--help` of a command, with $CONFIG where Hydra prints the configuration.

    Args:
        name: The name of the command.
        cfg: Its composed configuration, which holds the chosen option of each group.
        options_of: Returns the options of a group.
    """
    groups = groups_of(name)
    if not groups:
        return OWN_FILE.format(options=own_options(name).replace("$", "$$"))
    chosen = cfg.hydra.runtime.choices
    lines = []
    for group in sorted(groups):
        options = [f"[{each}]" if each == chosen.get(group) else each for each in sorted(options_of(group))]
        lines.append(f"  {group}: {GROUPS[group]}\n      {', '.join(options)}")
    return TEMPLATE.format(command=name, groups="\n".join(lines).replace("$", "$$"))
