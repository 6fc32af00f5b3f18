"""`python -m tests.benchmarks [name …]`."""

import sys

from tests.benchmarks.program import main

if __name__ == "__main__":  # a fresh process that measures memory imports this file anew
    sys.exit(main())
