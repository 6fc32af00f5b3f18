"""What every command needs while it runs: files, signals, processes, messages."""
