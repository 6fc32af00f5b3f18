"""Writes the text of `--help`: the groups that a command takes, with a line about each."""

import sys
from collections.abc import Callable

from omegaconf import DictConfig

from ddpm_lightning.configuration.groups import GROUPS, groups_of

TEMPLATE = """{command}: every option is GROUP=NAME or KEY=VALUE; -m with values between commas runs a sweep.

Groups, with the chosen option in brackets:

{groups}

Values of the chosen options (KEY.KEY=VALUE changes one):

$CONFIG"""


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
    chosen = cfg.hydra.runtime.choices
    lines = []
    for group in sorted(groups_of(name)):
        options = [f"[{each}]" if each == chosen.get(group) else each for each in sorted(options_of(group))]
        lines.append(f"  {group}: {GROUPS[group]}\n      {', '.join(options)}")
    return TEMPLATE.format(command=name, groups="\n".join(lines).replace("$", "$$"))
