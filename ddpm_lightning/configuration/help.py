"""What `--help` prints: the groups that one command takes, each with a line that says what it is."""

import sys
from collections.abc import Callable

from omegaconf import DictConfig

from ddpm_lightning.configuration.groups import GROUPS, groups_of

TEMPLATE = """{command}: every option is GROUP=NAME or KEY=VALUE; -m with values between commas runs a sweep.

Groups, in brackets what is chosen:

{groups}

Values of what is chosen (KEY.KEY=VALUE changes one):

$CONFIG"""


def asks_for_help() -> bool:
    """Whether --help or -h was typed."""
    return not {"--help", "-h"}.isdisjoint(sys.argv[1:])


def help_template(name: str, cfg: DictConfig, options_of: Callable[[str], list[str]]) -> str:
    """Returns the text of `--help` of a command, with $CONFIG where Hydra prints the configuration.

    Args:
        name: of the command.
        cfg: its configuration as composed, which knows the chosen option of each group.
        options_of: gives the options of a group.
    """
    chosen = cfg.hydra.runtime.choices
    lines = []
    for group in sorted(groups_of(name)):
        options = [f"[{each}]" if each == chosen.get(group) else each for each in sorted(options_of(group))]
        lines.append(f"  {group}: {GROUPS[group]}\n      {', '.join(options)}")
    return TEMPLATE.format(command=name, groups="\n".join(lines).replace("$", "$$"))
