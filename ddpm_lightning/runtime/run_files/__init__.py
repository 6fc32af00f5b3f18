"""Reads the files of a run. It imports nothing heavy, so that thousands of runs are listed in a moment."""
