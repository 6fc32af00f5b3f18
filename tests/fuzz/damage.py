"""Ways in which a file or a configuration can be wrong. They are drawn apart from what they spoil, to be short to read
when a test fails."""

from typing import Any

from hypothesis import strategies as st

PLACE = st.floats(0, 1, exclude_max=True)
Edit = tuple[str, float, float, int]

EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "repeat", "zero", "swap"]), PLACE, PLACE, st.integers(1, 255)),
    min_size=1,
    max_size=4,
)
"""What befalls the bytes of a file, and where: from 0, its start, to 1, its end."""


def damaged(content: bytes, edits: list[Edit]) -> bytes:
    """The content with bits flipped, parts cut out, repeated, zeroed or swapped."""
    result = bytearray(content)
    for how, *places, bits in edits:
        first, last = sorted(int(place * len(result)) for place in places)
        middle = (first + last) // 2
        if how == "flip" and result:
            result[first] ^= bits
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
Change = tuple[float, str, Any]

CHANGES = st.tuples(PLACE, st.sampled_from(["drop", "rename", "replace"]), st.sampled_from(WRONG))
"""What befalls an entry of nested dicts, and which."""


def misshapen(node: dict[Any, Any], change: Change) -> dict[Any, Any]:
    """The nested dict with one entry dropped, renamed or replaced by a wrong value."""
    place, how, wrong = change
    ways = paths(node)
    return edited(node, ways[int(place * len(ways))], how, wrong)


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
