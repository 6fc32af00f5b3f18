"""Flags of Hydra that no command here takes."""

import sys

from hydra._internal.utils import get_args_parser


def check_flags() -> None:
    """Ends the process if a flag asks to read a pickle: a pickle can run any program."""
    typed, _ = get_args_parser().parse_known_args()
    if typed.experimental_rerun is not None:
        sys.exit(
            f"Error: --experimental-rerun {typed.experimental_rerun} would read a pickle, which can run any program; "
            "give the options of that run instead, which its .hydra/overrides.yaml lists"
        )
