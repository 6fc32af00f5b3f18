"""What the files of a run say. It imports nothing heavy, so that thousands of runs are listed in a moment."""
