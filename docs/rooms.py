"""Draws which room of the package imports which, as an SVG."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "ddpm_lightning"
EVERYWHERE = {"typing", "errors", "__init__"}
WIDTH, ROW, BOX = 760, 84, (104, 34)


def imports() -> dict[str, set[str]]:
    """Returns the rooms, and which others each one imports."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        modules = (node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom))
        rooms = {str(module).split(".")[1] for module in modules if str(module).startswith("ddpm_lightning.")}
        found.setdefault(room, set()).update(rooms - {room})
    return {room: others - EVERYWHERE for room, others in found.items() if room not in EVERYWHERE}


def heights(graph: dict[str, set[str]]) -> dict[str, int]:
    """Returns for each room how many rooms lie below it, on the longest way down. Raises if there is a cycle."""

    def height(room: str, above: tuple[str, ...] = ()) -> int:
        assert room not in above, f"rooms import each other: {above}"
        return max((height(other, (*above, room)) + 1 for other in graph[room]), default=0)

    return {room: height(room) for room in graph}


def svg() -> str:
    graph = imports()
    height = heights(graph)
    levels = [[room for room in graph if height[room] == level] for level in reversed(range(max(height.values()) + 1))]
    centre = {
        room: (WIDTH * (i + 0.5) / len(rooms), BOX[1] + ROW * level)
        for level, rooms in enumerate(levels)
        for i, room in enumerate(rooms)
    }
    arrows = [arrow(centre[room], centre[other]) for room in graph for other in sorted(graph[room])]
    boxes = [box(room, *place) for room, place in centre.items()]
    size = f"0 0 {WIDTH} {ROW * len(levels)}"
    return (
        f'<svg class="rooms" role="img" aria-label="Imports of the rooms" viewBox="{size}">'
        '<marker id="head" orient="auto" markerWidth="7" markerHeight="7" refX="6" refY="3">'
        f'<path d="M0,0 6,3 0,6z"/></marker>{"".join(arrows + boxes)}</svg>'
    )


def arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (u, v) = start, end
    y, v = y + BOX[1] / 2, v - BOX[1] / 2
    curve = f"M{x:.0f},{y:.0f} C{x:.0f},{y + 30:.0f} {u:.0f},{v - 30:.0f} {u:.0f},{v:.0f}"
    return f'<path d="{curve}" marker-end="url(#head)"/>'


def box(room: str, x: float, y: float) -> str:
    left, top = x - BOX[0] / 2, y - BOX[1] / 2
    rectangle = f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>'
    return f'{rectangle}<text x="{x:.0f}" y="{y + 4:.0f}">{room}</text>'
