"""Keeps the line numbers of links to code: `python -m tests.readme_lines [PAGE …]` writes them into README.md or PAGE.

A link to code is [`symbol`](file.py#L12), or [`part of a line`](file#L12) for a line that stands there once.
"""

import ast
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


def with_lines(text: str, folder: Path = ROOT) -> str:
    """Returns the text of a page in `folder` with the present line numbers in its links to code."""
    return ROW.sub(
        lambda row: f"[`{row['symbol']}`]({row['file']}#L{line_of(folder / row['file'], row['symbol'])})",
        text,
    )


def main(pages: list[Path]) -> None:
    for page in pages:
        page.write_text(with_lines(page.read_text(), page.resolve().parent))


if __name__ == "__main__":
    main([Path(page) for page in sys.argv[1:]] or [README])
