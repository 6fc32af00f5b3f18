"""Runs commands in a process of its own, one after another: without the tests' type checker, which would catch what a
user meets, with little memory, and so that a hang can be ended.

Reads a line of JSON (script, overrides) from standard input and answers one on standard output.
"""

import contextlib
import io
import json
import resource
import sys
import traceback
import warnings
from typing import Any

MEMORY = 6 * 2**30
"""Bytes that a run may ask for."""


def outcome(script: str, overrides: list[str]) -> dict[str, Any]:
    """What the command did: its exit code (0, or what SystemExit held) and what it said."""
    from tests.commands import command

    said = io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
        try:
            command(script, *overrides)
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
            said.write(exit_.code if isinstance(exit_.code, str) else "")
        except BaseException:
            code = -1
            said.write(traceback.format_exc())
    return {"code": code, "said": said.getvalue()[-8000:]}


def serve() -> None:
    """Answers until the input ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    answers = sys.stdout
    for line in sys.stdin:
        print(json.dumps(outcome(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()
