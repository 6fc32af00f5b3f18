"""The file of results of a benchmark: findings, settings, machine, commit and command."""

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.device import machine
from benchmarks.plot import draw_series
from ddpm_lightning.runtime.results import commit, write_results

Record = dict[str, Any]


def run(benchmark: Benchmark) -> Record:
    """Runs a benchmark, and returns its findings with all that the numbers depend on."""
    where, code = machine(), commit()  # before results are written, which make the tree another
    findings = benchmark.measure()
    return {
        "name": benchmark.name,
        "question": benchmark.question,
        **_plain(asdict(findings)),
        "settings": settings(benchmark),
        "machine": where,
        "commit": code,
        "libraries": _versions(),
        "command": benchmark.command,
    }


def _versions() -> Record:
    """Returns the versions of the compared libraries; None for one that is not installed."""
    return {name: _version(name) for name in ("torch", "lightning", "diffusers", "denoising-diffusion-pytorch")}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def settings(benchmark: Benchmark) -> Record:
    """Returns the fields of a benchmark as JSON values."""
    peers = [peer.name for peer in getattr(benchmark, "peers", ())]
    fields = {**asdict(benchmark), "peers": peers, "ours": _options_of_ours(benchmark)}
    return {key: value for key, value in _plain(fields).items() if key != "name" and value not in ([], None)}


def _options_of_ours(benchmark: Benchmark) -> list[str]:
    ours = getattr(benchmark, "ours", None)
    return [] if ours is None else list(ours.overrides)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def write(record: Record, folder: Path) -> Path:
    """Writes NAME.json whole or not at all, and NAME.png if there are series."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['name']}.json"
    write_results(path, record)
    if record["series"]:
        draw_series(record["series"], path.with_suffix(".png"))
    return path


def read(name: str, folder: Path) -> Record | None:
    """Returns the contents of the last file of results; None if there is none."""
    path = folder / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None
