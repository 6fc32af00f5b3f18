"""A callback that writes down when each step ended, for a program outside that gives runs their turns."""

import time
from array import array
from pathlib import Path
from typing import Any

import lightning as L


class StepClock(L.Callback):
    """Appends the seconds of the system's own clock, a float64 a step."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        with Path(self.path).open("ab") as file:
            file.write(array("d", [time.monotonic()]).tobytes())


def ends_of_steps(path: Path) -> list[float]:
    """When each step so far ended; none where none has."""
    ends = array("d")
    written = path.read_bytes() if path.is_file() else b""
    ends.frombytes(written[: len(written) // ends.itemsize * ends.itemsize])
    return ends.tolist()
