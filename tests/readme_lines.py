"""Keeps the line numbers in the README's table "paper → file": `python -m tests.readme_lines` writes them anew."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ROW = re.compile(r"\[`(?P<symbol>[\w.]+)`\]\((?P<file>[\w./]+\.py)#L(?P<line>\d+)\)")


def line_of(file: str, symbol: str) -> int:
    """Where `Class.method`, `Class` or `function` begins. Raises KeyError where there is none."""
    node: ast.AST = ast.parse((ROOT / file).read_text())
    for name in symbol.split("."):
        found = {
            child.name: child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.FunctionDef | ast.ClassDef)
        }
        node = found[name]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    return node.lineno


def with_lines(text: str) -> str:
    """The text, every link to a symbol leading to the line where it is now."""
    return ROW.sub(
        lambda row: f"[`{row['symbol']}`]({row['file']}#L{line_of(row['file'], row['symbol'])})",
        text,
    )


if __name__ == "__main__":
    README.write_text(with_lines(README.read_text()))
