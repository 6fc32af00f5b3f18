"""Checks the flags of the command line before Hydra reads them."""

import sys

from ddpm_lightning.errors import nearest
from ddpm_lightning.runtime.private_parts import get_args_parser

FLAGS = (
    *("--help", "--multirun", "--cfg", "--resolve", "--package", "--info", "--run", "--version", "--hydra-help"),
    *("--config-dir", "--config-name", "--config-path", "--shell-completion"),
)
"""The flags that every command takes."""

MODES = ("run", "multirun", "cfg", "info", "shell_completion")
"""The flags, as argparse names them, of which Hydra takes one."""

USAGE = "%(prog)s [--help] [--multirun] [--cfg job] [GROUP=NAME …] [KEY=VALUE …]"


def check_flags() -> None:
    """Ends the process with a sentence if a flag is unknown, or stands between options, which argparse cannot read.

    --experimental-rerun is refused, also shortened: it reads a pickle, which can run a program.
    """
    parser = get_args_parser()
    parser.usage = USAGE
    flags, unknown = parser.parse_known_args()
    if flags.experimental_rerun is not None:
        sys.exit(
            f"Error: --experimental-rerun {flags.experimental_rerun} would read a pickle, which can run any program; "
            "give the options of that run instead, which its .hydra/overrides.yaml lists"
        )
    modes = [f"--{mode.replace('_', '-')}" for mode in MODES if getattr(flags, mode)]
    if len(modes) > 1:
        parser.error(f"{' and '.join(modes)} exclude each other; give one of them")
    unread = next((word for word in unknown if word.startswith("-")), None)
    if unread is not None:
        parser.error(f"{unread} is no flag; {nearest(unread, FLAGS)}")
    if unknown:
        parser.error(f"{unknown[0]} is not read, because flags stand between the options; give all flags first")
