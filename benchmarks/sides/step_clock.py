"""A callback that records when each step ended, for a program that runs several runs in turns."""

import time
from array import array
from pathlib import Path
from typing import Any

import lightning as L


class StepClock(L.Callback):
    """Appends the system clock's seconds to a file, a float64 for each step."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        with Path(self.path).open("ab") as file:
            file.write(array("d", [time.monotonic()]).tobytes())


def ends_of_steps(path: Path) -> list[float]:
    """Returns the times at which the steps so far ended."""
    ends = array("d")
    written = path.read_bytes() if path.is_file() else b""
    ends.frombytes(written[: len(written) // ends.itemsize * ends.itemsize])
    return ends.tolist()
