"""The options in which runs differ."""

from collections.abc import Iterator, Sequence
from typing import Any

from ddpm_lightning.studies.runs.run_table import as_text, choices_of
from ddpm_lightning.studies.runs.trained_run import Run
from ddpm_lightning.training.same_run import Effect, differences, effect_of

ABSENT = "–"
"""Stands for an option that a run does not have."""


def differing_options(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Returns the values of each option in which the runs differ, by its key: first choices of groups, then others.

    Options that cannot change a result are left out, such as where files lie. So are those inside a part that differs
    as a whole, because they follow from the choice.
    """
    chosen = [choices_of(run) for run in runs]
    groups = dict.fromkeys(group for each in chosen for group in each)
    found = {group: [as_text(each.get(group)) for each in chosen] for group in groups}
    found = {group: values for group, values in found.items() if len(set(values)) > 1}
    for key in dict.fromkeys(_keys(runs)):
        values = [value_at(run.config, key) for run in runs]
        if key not in found and len(set(values)) > 1:
            found[key] = values
    return found


def _keys(runs: Sequence[Run]) -> Iterator[str]:
    """Yields the keys whose values differ between the first run and another one."""
    for run in runs[1:]:
        yield from (
            each.key
            for each in differences(runs[0].config, run.config)
            if effect_of(each.key) is not Effect.CANNOT_MATTER
        )


def value_at(config: dict[str, Any], key: str) -> str:
    """Returns the value of a key as text. A part is named by its class; ABSENT stands for a missing one."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return ABSENT
        node = node[name]
    return str(node["_target_"]).rpartition(".")[2] if isinstance(node, dict) and "_target_" in node else as_text(node)
