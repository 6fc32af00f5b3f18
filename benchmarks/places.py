"""Where things lie. Not tests.conftest's: that one checks every annotation at run time, which takes time."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "experiments" / "benchmarks" / "README.md"
RESULTS = PAGE.parent / "results"
