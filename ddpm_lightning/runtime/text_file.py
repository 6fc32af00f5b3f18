"""Writing a file of text whole or not at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes beside the file, which then takes its name: a reader sees the old text or the new one."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(text, encoding="utf-8", newline="")  # as it is, for that of CSV has line ends of its own
    beside.replace(path)
