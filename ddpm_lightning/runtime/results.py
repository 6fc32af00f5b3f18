"""results.json: the final numbers of a run, and where they come from."""

import json
import logging
import math
import os
import platform
import subprocess
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric import Fabric
from torch import Tensor

import ddpm_lightning
from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.runtime.command_line import SOURCE
from ddpm_lightning.typing import PerExample

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "lightning", "hydra-core", "numpy", "torchmetrics", "torch-fidelity")

Records = dict[str, dict[str, Any]]
"""Entries of results.json by name: a value, and how it was measured."""


@dataclass
class MeanAndError:
    """The mean of one number per image and its standard error over the images.

    Args:
        sums: The number of images, the sum of the numbers and the sum of their squares, float64 [3].
    """

    sums: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    @classmethod
    def of(cls, values: PerExample) -> "MeanAndError":
        """Returns the mean and error of these numbers, [n]."""
        found = cls()
        found.update(values)
        return found

    def update(self, values: PerExample) -> None:
        """Adds the numbers of further images, [n]."""
        values = values.double()
        ones = torch.ones_like(values)
        self.sums = self.sums.to(values.device) + torch.stack([ones, values, values.square()]).sum(1)

    def reduce(self, processes: L.Trainer | Fabric) -> None:
        """Replaces the sums of this process by those of all processes."""
        self.sums = add_up(processes, self.sums)

    @property
    def count(self) -> int:
        """Returns the number of images."""
        return int(self.sums[0])

    @property
    def mean(self) -> float:
        """Returns the mean of the numbers."""
        return float(self.sums[1] / self.sums[0])

    @property
    def standard_error(self) -> float:
        """Returns the standard error of the mean."""
        variance = float(self.sums[2] / self.sums[0]) - self.mean**2
        return math.sqrt(max(variance, 0.0) / max(self.count - 1, 1))

    def stated(self) -> dict[str, Any]:
        """Returns the mean and its error as a record of results.json."""
        return {"value": self.mean, "standard_error": self.standard_error}


def add_up(processes: L.Trainer | Fabric, x: Tensor) -> Tensor:
    """Returns the sum of a tensor over all processes of a Trainer or a Fabric, on the CPU. Every process calls it."""
    copy = x.to(processes.strategy.root_device, copy=True)  # the sum is written into it
    is_trainer = isinstance(processes, L.Trainer)
    reduce = processes.strategy.reduce if is_trainer else processes.strategy.all_reduce  # type: ignore[union-attr]
    summed = reduce(copy, reduce_op="sum")
    assert isinstance(summed, Tensor)
    return summed.cpu()


def metric_name(name: str, n: int, compared_with: str | None, suffix: str = "") -> str:
    """Returns the name of a metric in results.json, such as fid_50k_train.

    Args:
        name: The metric.
        n: The number of images.
        compared_with: The split or reference that they are compared with, if any.
        suffix: Says how the images differ from the paper's, such as _ddim50.
    """
    number = f"{n // 1000}k" if n % 1000 == 0 else str(n)
    return "_".join([name, number, *([compared_with] if compared_with else [])]) + suffix


def provenance(seed: int) -> dict[str, Any]:
    """Returns where a number comes from: the seed, this package's version and commit, the libraries, the machine."""
    return {
        "seed": seed,
        **source(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }


def device_name(device: torch.device) -> str:
    """Returns "cpu", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def source() -> dict[str, str | None]:
    """Returns the version of this package, and its commit if it runs from a checkout."""
    return {"version": ddpm_lightning.__version__, "commit": commit()}


@cache
def commit() -> str | None:
    """Returns the git commit of this package as of the first call; None if it does not run from a checkout."""
    return commit_of(SOURCE)


def commit_of(root: Path) -> str | None:
    """Returns the git commit of the checkout at `root`, with "-dirty" if it has changes, new modules or new configs.

    None if the root is not a checkout of this project, for another project's repository may lie around it.
    """
    top = git(root, "rev-parse", "--show-toplevel")
    if top is None or not root.samefile(top) or not is_project(root):
        return None
    changed = git(root, "status", "--porcelain", "--untracked-files=no")
    added = git(root, "ls-files", "--others", "--exclude-standard", "--", "ddpm_lightning", "conf")
    head = git(root, "rev-parse", "HEAD")
    return f"{head}-dirty" if head and (changed or added) else head


def is_project(root: Path) -> bool:
    """Returns whether this folder is the root of this project's source."""
    about = root / "pyproject.toml"
    return about.is_file() and 'name = "ddpm-lightning"' in about.read_text(encoding="utf-8")


def git(root: Path, *command: str) -> str | None:
    """Returns what a git command prints in a folder; None if there is no repository or no git."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook's GIT_DIR
    call = ["git", "--no-optional-locks", "-C", str(root), *command]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True, env=env).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def with_warnings(found: dict[str, Any]) -> dict[str, Any]:
    """Adds a warning to each value that is not finite, or that is worse than without a model. Returns the results."""
    for record in found.values():
        if not math.isfinite(record["value"]) and not record.get("warning"):
            record["warning"] = "not finite: the model or the images hold NaN or infinity"
        elif _is_bound(record) and record["value"] > math.log2(record["levels"]):
            guess = f"log2 {record['levels']} = {math.log2(record['levels']):.3g} bits/dim"
            record["warning"] = f"out of range: above {guess}, the cost of images whose levels are all equally likely"
    return found


def _is_bound(record: dict[str, Any]) -> bool:
    """Returns whether the record is the whole bound (Eq. 5), not one of its terms."""
    return record.get("unit") == "bits/dim" and "levels" in record and "term" not in record


SPREADS = {
    "estimation_error": "against the whole sum",
    "standard_error": "over images",
    "standard_error_over_pairs": "over pairs of gradients",
    "standard_error_over_draws": "over draws of images",
    "standard_deviation": "over splits or subsets",
}
"""The keys of a record whose value is logged after the ±, and what they measure. The first one found is used."""


def log_results(found: dict[str, Any]) -> None:
    """Logs each result with its error, and its warning if it has one."""
    for name, record in found.items():
        spread = next((f" ± {record[key]:.2g} {of}" for key, of in SPREADS.items() if record.get(key)), "")
        log.info("%s: %.5g%s", " ".join([name, *unit(record)]), record["value"], spread)
        if record.get("warning"):
            log.warning("%s is %s", name, record["warning"])


def unit(record: dict[str, Any]) -> list[str]:
    """Returns the unit of a record in brackets; [] if it has none."""
    return [f"({record['unit']})"] if "unit" in record else []


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Writes results.json atomically."""
    write_text(path, as_json(results))


def as_json(results: dict[str, Any]) -> str:
    """Returns the text of results.json."""
    return json.dumps(_finite(results), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON lacks, by their names."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
