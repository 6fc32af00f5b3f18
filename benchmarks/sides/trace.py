"""What torch's profiler wrote."""

import json
from pathlib import Path


def peak_of_trace(path: Path) -> int:
    """The most bytes that were allocated at once while the profiler looked."""
    events = json.loads(path.read_text())["traceEvents"]
    return max(int(event["args"]["Total Allocated"]) for event in events if event["name"] == "[memory]")
