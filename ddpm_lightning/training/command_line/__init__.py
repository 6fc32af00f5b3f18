"""What a command does with its options before it begins: flags, names, quotes, paths and the folder for its files."""
