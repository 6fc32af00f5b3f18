"""Flags of Hydra that no command of this project takes."""

import sys


def check_flags() -> None:
    """Ends the process if --experimental-rerun is given, also shortened: it reads a pickle, which can run a program."""
    for number, word in enumerate(sys.argv[1:], start=2):
        flag, _, value = word.partition("=")
        if len(flag) > 2 and "--experimental-rerun".startswith(flag):
            path = value or " ".join(sys.argv[number : number + 1])
            sys.exit(
                f"Error: --experimental-rerun {path} would read a pickle, which can run any program; "
                "give the options of that run instead, which its .hydra/overrides.yaml lists"
            )
