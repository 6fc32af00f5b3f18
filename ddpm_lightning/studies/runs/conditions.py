"""Which runs a table keeps (where=), and their order (sort=)."""

import operator
import re
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ddpm_lightning.errors import UserError, near_names, shown
from ddpm_lightning.studies.runs.run_table import RunTable, as_text, is_number, natural

CONDITION = re.compile(r"\s*(?P<name>[^\s<>=!]+)\s*(?P<sign>[<>]=?|[!=]?=)\s*(?P<value>\S.*?)\s*")
COMPARED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
FORM = "write it like 'loss=simple and test/bpd_beta<3.2'"


class Condition(NamedTuple):
    """A condition on one column, such as test/bpd_beta < 3.2."""

    name: str
    sign: str
    value: str

    def holds(self, found: Any) -> bool:
        """Returns whether a value fulfils it. A run without a number is neither above nor below one."""
        if self.sign in COMPARED:
            return is_number(found) and bool(COMPARED[self.sign](found, float(self.value)))
        both = is_number(found) and number_in(self.value) is not None
        is_equal = found == number_in(self.value) if both else fnmatchcase(as_text(found), self.value)
        return is_equal != (self.sign == "!=")


def kept(table: RunTable, where: str | None) -> RunTable:
    """Returns the table with the runs that fulfil where=, which is `CONDITION and CONDITION …`; None keeps all."""
    conditions = [] if where is None else [read_condition(text, table) for text in re.split(r"\s+and\s+", where)]
    return replace(table, rows=tuple(row for row in table.rows if all(c.holds(row[c.name]) for c in conditions)))


def read_condition(text: str, table: RunTable) -> Condition:
    """Returns the condition that a text states. Raises UserError if it states none."""
    found = CONDITION.fullmatch(text)
    if found is None:
        raise UserError(f"where={shown(text)} is no condition; {FORM}")
    if found["sign"] in COMPARED and number_in(found["value"]) is None:
        raise UserError(f"where={shown(text)} compares with {found['value']}, which is no number; {FORM}")
    return Condition(the_name(found["name"], table, "where"), found["sign"], found["value"])


def ordered(table: RunTable, sort: str | None) -> RunTable:
    """Returns the table sorted by a column: NAME, or -NAME for the largest first. Runs without a value come last."""
    if sort is None:
        return table
    name = the_name(sort.removeprefix("-"), table, "sort")
    known = [row for row in table.rows if row[name] is not None and row[name] == row[name]]  # without NaN
    numeric = all(is_number(row[name]) for row in known)
    known.sort(key=lambda row: row[name] if numeric else natural(as_text(row[name])), reverse=sort.startswith("-"))
    return replace(table, rows=(*known, *(row for row in table.rows if row not in known)))


def the_name(pattern: str, table: RunTable, option: str) -> str:
    """Returns the one name that a pattern stands for. Raises UserError if there is none, or several."""
    names = names_like(pattern, table, option)
    if len(names) > 1:
        raise UserError(f"{option}= asks for {pattern}, which is {shown(', '.join(names))}; name one of them")
    return names[0]


def names_like(pattern: str, table: RunTable, option: str) -> list[str]:
    """Returns the columns that a pattern such as fd_* matches, or the key of the configurations that it is.

    Raises:
        UserError: No run has such a name.
    """
    found = [name for name in table.columns if name == pattern] or [
        name for name in table.columns if fnmatchcase(name, pattern)
    ]
    if not found and table.rows and all(row[pattern] is None for row in table.rows):
        raise UserError(f"{option}= asks for {shown(pattern)}, which no run has; {hint(pattern, table.columns)}")
    return found or [pattern]


def hint(pattern: str, names: Iterable[str]) -> str:
    """Returns a sentence with the names that are most like a pattern."""
    near = near_names(pattern, names, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else "csv=PATH writes all names"


def number_in(text: str) -> float | None:
    """Returns the number that a text is, or None."""
    try:
        return float(text)
    except ValueError:
        return None
