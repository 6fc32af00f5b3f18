"""Ways in which a file or a configuration can be wrong."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn


@st.composite
def damaged(draw: DrawFn, content: bytes) -> bytes:
    """The content with bits flipped, cut off, repeated, zeroed or swapped."""
    place = st.integers(0, len(content) - 1)
    result = bytearray(content)
    for how in draw(st.lists(st.sampled_from(["flip", "cut", "repeat", "zero", "swap"]), min_size=1, max_size=4)):
        first, last = sorted(min(draw(place), len(result) - 1) for _ in range(2))
        middle = (first + last) // 2
        if how == "flip":
            result[first] ^= draw(st.integers(1, 255))
        elif how == "cut":
            del result[first : first + 1 + (last - first) // 4]
        elif how == "repeat":
            result[first:first] = result[first : first + 64]
        elif how == "zero":
            result[first : first + 16] = bytes(len(result[first : first + 16]))
        else:
            result[first:last] = result[middle:last] + result[first:middle]
    return bytes(result)


WRONG: list[Any] = [None, True, 0, -1, 7, 2**40, 2**70, 0.5, float("nan"), float("inf"), 1e300, "", "abc"]
WRONG += [[], [1, 2], [None], {}, {"a": 1}, {"_target_": "os.system"}, "${oc.env:HOME}", b"bytes", {1, 2}, 1j]


@st.composite
def misshapen(draw: DrawFn, node: Any) -> Any:
    """The dict with some entry, anywhere in it, dropped, renamed or replaced by a wrong value."""
    path = draw(st.sampled_from(sorted(paths(node), key=repr)))
    return edited(node, path, draw(st.sampled_from(["drop", "rename", "replace"])), draw(st.sampled_from(WRONG)))


def paths(node: Any) -> list[tuple[Any, ...]]:
    """The way to every entry of nested dicts."""
    if not isinstance(node, dict):
        return []
    return [(key, *rest) for key, value in node.items() for rest in [(), *paths(value)]]


def edited(node: dict[Any, Any], path: tuple[Any, ...], how: str, wrong: Any) -> dict[Any, Any]:
    """A copy of the nested dict with one entry changed."""
    key, *rest = path
    copy = dict(node)
    if rest:
        copy[key] = edited(node[key], tuple(rest), how, wrong)
    elif how == "replace":
        copy[key] = wrong
    else:
        value = copy.pop(key)
        if how == "rename":
            copy[f"{key}_"] = value
    return copy
