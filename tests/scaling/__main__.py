"""`python -m tests.scaling [--page]`."""

from tests.scaling.program import main

if __name__ == "__main__":  # a fresh process that measures memory imports this file anew
    main()
