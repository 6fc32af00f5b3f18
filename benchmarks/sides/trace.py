"""Reads the trace of torch's profiler."""

import json
from pathlib import Path


def peak_of_trace(path: Path) -> int:
    """Returns the peak of allocated bytes during the trace."""
    events = json.loads(path.read_text())["traceEvents"]
    return max(int(event["args"]["Total Allocated"]) for event in events if event["name"] == "[memory]")
