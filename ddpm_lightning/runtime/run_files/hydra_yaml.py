"""Reads the YAML files that Hydra writes into .hydra, quickly.

The configurations of many runs consist of the same parts. So a file is divided into the blocks of its top-level keys,
and each different block is parsed once.
"""

import re
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from ddpm_lightning.errors import UserError

NEXT_KEY = re.compile(r"^(?!\s|-(?:\s|$))", re.MULTILINE)
"""The start of a top-level key. A list may stand below its key without indentation."""

NEXT_ITEM = re.compile(r"^(?=- )", re.MULTILINE)

CHOICES = re.compile(r"^    choices:\n(?P<choices>(?:      .*\n)+)", re.MULTILINE)
"""The chosen option of each group in hydra.yaml, as OmegaConf indents it."""


class HydraLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, in C if it can be, that reads 1e-4 as a number and a date as text, as OmegaConf does."""


HydraLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
HydraLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\d[\d_]*(?:\.[\d_]*)?[eE][-+]?\d+$|[-+]?\.\d[\d_]*(?:[eE][-+]?\d+)?$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> Any:
    """Returns the contents of a YAML file of Hydra, not resolved. Raises UserError if it cannot be read."""
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except Exception as error:  # a damaged file can raise nearly anything
        raise UserError(f"{path} cannot be read ({error}); run that job again, or remove its folder") from error


def read_choices(path: Path) -> dict[str, Any]:
    """Returns the chosen option of each group from hydra.yaml. Raises UserError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        found = CHOICES.search(text)
        return dict(_load(found["choices"]) if found else _load(text)["hydra"]["runtime"]["choices"])
    except Exception as error:
        raise UserError(f"{path} cannot be read ({error}); run that job again, or remove its folder") from error


def parsed(text: str) -> Any:
    """Returns the value of a YAML text. Equal blocks share their value, which must not be changed."""
    is_list = text.startswith("- ")
    blocks = [_load(block) for block in (NEXT_ITEM if is_list else NEXT_KEY).split(text) if block]
    kind = list if is_list else dict
    if not blocks or not all(isinstance(block, kind) for block in blocks):
        return _load(text) or {}  # as OmegaConf reads an empty file
    return list(chain.from_iterable(blocks)) if is_list else {key: block[key] for block in blocks for key in block}


@lru_cache(maxsize=10_000)
def _load(text: str) -> Any:
    return yaml.load(text, HydraLoader)
