"""Keeps the line numbers of links to code: `python -m tests.readme_lines [PAGE …]` writes them into README.md or PAGE.

A link to code is [`symbol`](file.py#L12), or [`part of a line`](file#L12) for a line that stands there once.
"""

import ast
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ROW = re.compile(r"\[`(?P<symbol>[^`\n]+)`\]\((?P<file>[\w./]+\.\w+)#L(?P<line>\d+)\)")


def definition(path: Path, symbol: str) -> ast.FunctionDef | ast.ClassDef:
    """Finds `Class.method`, `Class` or `function` in a file. Raises KeyError if it is not there."""
    node: ast.AST = ast.parse(path.read_text())
    for name in symbol.split("."):
        found = {
            child.name: child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.FunctionDef | ast.ClassDef)
        }
        node = found[name]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    return node


def line_of(path: Path, text: str) -> int:
    """Returns the line where a symbol is defined, or else the only line that contains the text."""
    try:
        return definition(path, text).lineno
    except (KeyError, SyntaxError):
        lines = [n for n, line in enumerate(path.read_text().splitlines(), start=1) if text in line]
    if len(lines) != 1:
        raise KeyError(f"{path}: {len(lines)} lines contain `{text}`, which should be one")
    return lines[0]


def file_of(path: Path, text: str) -> Path:
    """Returns the path, or if the file was moved, the only file of its name, or else of the project, with the text."""
    if path.exists():
        return path
    code = [file for room in ("ddpm_lightning", "tests") for file in sorted((ROOT / room).rglob("*.py"))]
    for files in ([file for file in code if file.name == path.name], code):
        found = [file for file in files if has_line(file, text)]
        if len(found) == 1:
            return found[0]
    raise FileNotFoundError(f"{path} is not there, and `{text}` is in no other file, or in several")


def has_line(path: Path, text: str) -> bool:
    try:
        return line_of(path, text) > 0
    except KeyError:
        return False


def with_lines(text: str, folder: Path = ROOT) -> str:
    """Returns the text of a page in `folder` with the present files and line numbers in its links to code."""

    def present(row: re.Match[str]) -> str:
        written = folder / row["file"]
        path = file_of(written, row["symbol"])
        file = row["file"] if path == written else os.path.relpath(path, folder)
        return f"[`{row['symbol']}`]({file}#L{line_of(path, row['symbol'])})"

    return ROW.sub(present, text)


def main(pages: list[Path]) -> None:
    for page in pages:
        page.write_text(with_lines(page.read_text(), page.resolve().parent))


if __name__ == "__main__":
    main([Path(page) for page in sys.argv[1:]] or [README])
