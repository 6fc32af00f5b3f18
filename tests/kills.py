"""Commands killed at random moments, on machines of any speed."""

import random
from collections.abc import Callable
from pathlib import Path


def killed_at_random(
    folder: Path, kill: Callable[[Path, float], bool], check: Callable[[Path], None], latest: float, hits: int
) -> Path:
    """`hits` runs of which `kill(folder, seconds)`, at most `latest` seconds each, says that it hit them; their folder.

    Each run resumes the one that was killed before. A run that ended before its kill is checked; after it, a new run
    begins in its own folder, and the kills come sooner.
    """
    draws, missed = random.Random(0), 0
    while True:
        into = folder / str(missed)
        while kill(into, draws.uniform(0, latest / 2**missed)):
            hits -= 1
            if not hits:
                return into
        check(into)
        missed += 1
