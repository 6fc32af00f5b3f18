"""Runs `python -m benchmarks.scaling [--page]`."""

from benchmarks.scaling.program import main

if __name__ == "__main__":  # a fresh process that measures memory imports this file again
    main()
