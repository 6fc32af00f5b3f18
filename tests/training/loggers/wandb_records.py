"""Reads a run of W&B back, from the file that was written offline, by W&B's own command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Written(NamedTuple):
    """What W&B knows of a run. history: one entry a call, by key. exit_code: None where the run was not closed."""

    folder: Path
    run: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    artifacts: dict[str, list[str]]
    exit_code: int | None

    def keys(self) -> set[str]:
        """Everything that was logged."""
        return {key for entry in self.history for key in entry if not key.startswith("_")}

    def values(self, key: str) -> list[tuple[int, Any]]:
        """Each value with its optimizer step."""
        return [(entry["trainer/global_step"], entry[key]) for entry in self.history if key in entry]


def read_run(run_dir: Path) -> list[Written]:
    """One for each time that the run was started."""
    return [read_folder(folder) for folder in sorted((run_dir / "wandb").glob("offline-run-*"))]


def read_folder(folder: Path) -> Written:
    """What one start of a run has written."""
    (path,) = folder.glob("*.wandb")
    wandb = str(Path(sys.executable).parent / "wandb")
    said = subprocess.run([wandb, "leet", "inspect", "--json", path], capture_output=True, text=True, check=True).stdout
    records = [json.loads(line) for line in said.splitlines()]
    by_type: dict[str, list[Any]] = {}
    for record in records:
        by_type.setdefault(record["type"], []).append(record[record["type"]])
    config: dict[str, Any] = {}
    for update in [by_type["run"][0].get("config", {}), *by_type.get("config", [])]:
        config |= update.get("update", {})
    artifacts = {
        each["type"]: sorted(entry["path"] for entry in each["manifest"]["contents"])
        for each in by_type.get("artifact", [])
    }
    exits = [each.get("exit_code", 0) for each in by_type.get("exit", [])]
    history = [_nested(each["item"]) for each in by_type.get("history", [])]
    return Written(folder, by_type["run"][0], config, history, artifacts, exits[-1] if exits else None)


def _nested(item: dict[str, Any]) -> dict[str, Any]:
    """{"samples/grid.width": 5, …} to {"samples/grid": {"width": 5, …}, …}."""
    found: dict[str, Any] = {}
    for name, value in item.items():
        key, _, inner = name.partition(".")
        if inner:
            found.setdefault(key, {})[inner] = value
        else:
            found[key] = value
    return found
