"""Lists and compares runs, from their files."""
