"""Folders of runs for tests: copies of one small training with other options and numbers."""

import json
import shutil
from pathlib import Path
from typing import Any


def copied(run: Path, target: Path, values: dict[str, float] | None = None, **options: Any) -> Path:
    """Copies the files of a run, as if `key=value` had been typed for each option; lr is optimizer.lr."""
    for name in (".hydra", "metrics.csv", "results.json"):
        copy = shutil.copytree if name == ".hydra" else shutil.copy
        target.mkdir(parents=True, exist_ok=True)
        copy(run / name, target / name)
    config, typed = target / ".hydra" / "config.yaml", target / ".hydra" / "overrides.yaml"
    for key, value in options.items():
        found = [each for each in config.read_text().splitlines() if each.strip().startswith(f"{key}: ")]
        line = min(found, key=lambda each: len(each) - len(each.lstrip()))
        config.write_text(config.read_text().replace(line, f"{line.partition(':')[0]}: {value}", 1))
        typed.write_text(f"{typed.read_text()}- {'optimizer.' if line.startswith(' ') else ''}{key}={value}\n")
    results = target / "results.json"
    outcome = json.loads(results.read_text())
    for name, value in (values or {}).items():
        outcome["metrics"][name] = {"value": value, "step": 4}
    results.write_text(json.dumps(outcome))
    return target
