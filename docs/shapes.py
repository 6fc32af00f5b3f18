"""Shows what stands in square brackets in a docstring, such as the shape [b, *d], as code.

Markdown would take it for a link or for emphasis.
"""

import re
from typing import Any

import griffe

CODE = r"(?P<code>```[\s\S]*?```|`[^`\n]*`|^ *>>>.*$)"
BRACKETS = r"[^\s\[\]`(]*\[[^\[\]\n]+\](?!\()"
CODE_OR_BRACKETS = re.compile(f"{CODE}|{BRACKETS}", re.MULTILINE)


def as_code(text: str) -> str:
    return CODE_OR_BRACKETS.sub(lambda found: found[0] if found["code"] else f"`{found[0]}`", text)


class Shapes(griffe.Extension):
    """Rewrites every docstring before mkdocstrings renders it."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_code(obj.docstring.value)
