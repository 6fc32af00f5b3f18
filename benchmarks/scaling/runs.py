"""Runs of train.py itself: their memory, and a step of the large networks."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.questions.growth import MIDDLE
from benchmarks.questions.memory import MIB
from benchmarks.scaling.formulas import NetworkCost, peak_of_run
from benchmarks.scaling.images import write_images
from benchmarks.sides.runs import QUIETLY, SHORTLY, as_command, run_command
from ddpm_lightning.training.loggers.metrics_csv import read_rows

Rows = list[dict[str, Any]]


def accumulation(batch_size: int = 128) -> Rows:
    """Measures the peak resident memory of train.py by the number of parts of a batch."""
    return [_accumulated(batch_size, turns) for turns in (1, 2, 8)]


def _accumulated(batch_size: int, turns: int) -> dict[str, Any]:
    fake = ("data=fake", f"data.num_images={batch_size}", f"data.batch_size={batch_size}", *MIDDLE.overrides)
    options = [
        *fake,
        "trainer.precision=32-true",
        f"trainer.accumulate_grad_batches={turns}",
        *STEPS,
        *QUIETLY,
        *SHORTLY,
    ]
    with TemporaryDirectory() as run_dir:
        row = last_row(Path(run_dir), *options)
    cost = NetworkCost(MIDDLE)
    return {
        "batch_size": batch_size,
        "turns": turns,
        "formula_mib": peak_of_run(cost.parameters, batch_size // turns * cost.activations) / MIB,
        "measured_mib": float(row["train/memory_gib"]) * 1024,
    }


STEPS = ("trainer.max_steps=2", "callbacks.metrics.every_n_steps=1", "logger=csv")


def last_row(run_dir: Path, *options: str) -> dict[str, str]:
    """Runs train.py with these options, and returns the last row of its metrics.csv."""
    run_command(as_command([*options, f"hydra.run.dir={run_dir}"]), dict(os.environ))
    return [row for row in read_rows(run_dir / "metrics.csv") if row["train/loss"]][-1]


def large_steps(names: tuple[str, ...] = ("celebahq256", "lsun_bedroom_large")) -> Rows:
    """Measures the second of two steps of train.py at batch 1 for each large recipe, with activation checkpointing."""
    return [large_step(name) for name in names]


def large_step(name: str) -> dict[str, Any]:
    """Measures a step of one 256×256 recipe on ten images."""
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        write_images(Path(folder), 10, "png", (256, 256))
        row = last_row(run, *large_options(name), f"data.root={folder}")
        size = (run / "checkpoints" / "last.ckpt").stat().st_size
    return {
        "recipe": name,
        "step": int(row["step"]),
        "loss": float(row["train/loss"]),
        "grad_norm": float(row["train/grad_norm"]),
        "seconds": 1 / float(row["train/images_per_s"]),
        "peak_gib": float(row["train/memory_gib"]),
        "checkpoint_gb": size / 1e9,
    }


def large_options(name: str) -> list[str]:
    """Returns the options for a recipe at batch 1 with everything else off."""
    nothing = [f"callbacks.{part}=null" for part in ("bound", "grid", "strip", "progress", "loss_by_t")]
    folder = ["data=image_folder", "data.side=256", "data.test_every=10"]
    one = [*folder, "data.batch_size=1", "data.eval_batch_size=1", "data.num_workers=0", "module.test_strata=2"]
    return [f"experiment={name}", "network.activation_checkpointing=true", *one, *STEPS, *nothing]
