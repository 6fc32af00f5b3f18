"""Paths of the repository. tests.conftest has them, too, but slows everything by checking annotations."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "experiments" / "benchmarks" / "README.md"
RESULTS = PAGE.parent / "results"
