"""Services of a running command: folders, results, processes, signals, messages."""
