"""What every command needs while it runs: folders, results, processes, signals, messages."""
