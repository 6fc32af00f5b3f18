"""Shows progress: a moving bar on a terminal, a line every minute elsewhere."""

import sys
from typing import Any

from tqdm import tqdm

INTERVAL = 60.0
"""Seconds between two lines where there is no terminal."""


class LineStream:
    """A stream that writes each state of a bar as a new line."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> None:
        """Writes the text as a line; nothing if it only moves the cursor."""
        if words := text.strip("\r\n \x1b[A"):
            self.stream.write(words + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress_bar(**options: Any) -> "tqdm[Any]":
    """Returns a bar on stderr. If stderr is not a terminal, it writes a line after each minute instead of moving.

    options: those of tqdm.
    """
    if sys.stderr.isatty():
        return tqdm(**options)
    seldom = {"mininterval": INTERVAL, "maxinterval": INTERVAL, "delay": INTERVAL}
    return tqdm(**{**options, **seldom, "file": LineStream(sys.stderr), "dynamic_ncols": False})
