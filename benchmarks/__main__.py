"""Runs `python -m benchmarks [name …]`."""

import sys

from benchmarks.program import main

if __name__ == "__main__":  # a fresh process that measures memory imports this file again
    sys.exit(main())
