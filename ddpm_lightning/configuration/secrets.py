"""Refuses keys and passwords in a configuration, because the run directory and every checkpoint keep it."""

import re
from collections.abc import Iterable
from typing import Any

from ddpm_lightning.errors import UserError

NAME = r"(?:[a-z0-9]+_)*(?:(?:api_?|access_|private_|secret_)key|password|passwd|passphrase|secret|token|credentials?)"
"""The names of values that must stay secret, as a regular expression."""

TYPED = re.compile(rf"(?<![a-z0-9_])(?P<name>{NAME})[\"']?\s*[:=]\s*(?!null\b|\s*$)", re.IGNORECASE)
READ = re.compile(rf"\$\{{\s*oc\.env\s*:[^}}]*?(?:\$|(?<![a-z0-9]){NAME})", re.IGNORECASE)
"""An interpolation that reads a secret environment variable, or a variable whose name is computed."""


def check_typed(options: Iterable[str]) -> None:
    """Raises UserError if a typed option gives a secret."""
    for option in options:
        found = TYPED.search(option)
        if found:
            raise UserError(_refusal(f"the option {option[: found.end('name')]}"))


def check_no_secrets(node: Any, name: str = "") -> None:
    """Raises UserError if a configuration holds a secret or reads one from the environment.

    Args:
        node: The configuration, not resolved.
        name: The path of the node in the whole configuration.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            check_no_secrets(value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            check_no_secrets(value, f"{name}[{place}]")
    elif _is_secret(name.rpartition(".")[2], node) or (isinstance(node, str) and READ.search(node)):
        raise UserError(_refusal(name))


def _is_secret(key: str, value: object) -> bool:
    return value not in (None, "", "???") and re.fullmatch(NAME, key, re.IGNORECASE) is not None


def _refusal(name: str) -> str:
    return (
        f"{name} would put a secret into the run directory and into every checkpoint; leave it out and keep the key "
        "where W&B looks for it: wandb login, or the environment variable WANDB_API_KEY"
    )
