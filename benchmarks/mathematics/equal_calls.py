"""Compares samplers at equal network calls, on a ring of Gaussians, with trained networks and the best one.

python -m benchmarks.mathematics.equal_calls OUT CHECKPOINT [CHECKPOINT …]     writes OUT.json and OUT.png
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ddpm_lightning.data.points import GaussiansDataModule
from ddpm_lightning.diffusion.mixture import BestNetwork, Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler
from ddpm_lightning.diffusion.samplers.langevin import LangevinSampler, PredictorCorrector
from ddpm_lightning.diffusion.samplers.spacing import QuadraticSpacing
from ddpm_lightning.metrics.energy import energy_distance
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError, commit
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.studies.figures.canvas import mark, save_curves
from ddpm_lightning.training.checkpoint import load_model
from ddpm_lightning.typing import PointCloud

POINTS = 1000
TEST_POINTS = 5000
SPACED = {"spacing": QuadraticSpacing()}

Kind = Callable[[int], Sampler]
"""Returns a sampler that makes this number of network calls for each image."""

SAMPLERS: dict[str, Kind] = {
    "ancestral": lambda calls: AncestralSampler(num_steps=calls, **SPACED),
    "DDIM": lambda calls: DDIMSampler(num_steps=calls, **SPACED),
    "Langevin, 10 at each t, step 0.2": lambda calls: LangevinSampler(num_steps=calls // 10, **SPACED),
    "Langevin, 10 at each t, step 1": lambda calls: LangevinSampler(num_steps=calls // 10, step_size=1.0, **SPACED),
    "predictor–corrector, ancestral": lambda calls: PredictorCorrector(num_steps=calls // 2, **SPACED),
    "predictor–corrector, DDIM": lambda calls: PredictorCorrector(num_steps=calls // 2, eta=0.0, **SPACED),
}
CALLS = {"trained": (20, 50, 100, 200), "best": (20, 50, 100, 200, 500, 1000)}

Record = dict[str, Any]
"""The contents of OUT.json: for "trained" and "best", the energy distance by sampler and calls, with its error."""


def distance(model: DenoisingDiffusion, sampler: Sampler, real: PointCloud, seed: int) -> float:
    """Returns the energy distance of POINTS generated points to real ones."""
    noise = NoisePerImage(seed, range(POINTS))
    x_0 = sampler.sample(model, noise.randn(2, 1, 1), randn_like=noise.randn_like)
    return energy_distance(x_0.flatten(1), real)


def race(
    models: list[DenoisingDiffusion], calls: tuple[int, ...], real: PointCloud
) -> dict[str, dict[int, MeanAndError]]:
    """Measures every sampler at every number of calls. Model i draws with seed i."""
    found: dict[str, dict[int, MeanAndError]] = {}
    for name, kind in SAMPLERS.items():
        found[name] = {}
        for number in calls:
            distances = [distance(model, kind(number), real, seed) for seed, model in enumerate(models)]
            found[name][number] = MeanAndError.of(torch.tensor(distances, dtype=torch.float64))
            print(f"{name} | {number} | {found[name][number].mean:.5f} ± {found[name][number].standard_error:.5f}")
    return found


def best_model(data: GaussiansDataModule, like: DenoisingDiffusion) -> DenoisingDiffusion:
    """Returns the model with the best network in place of the trained one."""
    network = BestNetwork(Mixture(data.means, data.noise), like.process, like.parameterization)
    return DenoisingDiffusion(network, like.process, like.parameterization, like.variance, like.levels)


def draw(record: Record, path: Path) -> None:
    """Draws a panel for the trained networks and one for the best."""
    figure, panes = panels(2, width=11, height=4.8)
    for axes, which in zip(panes, CALLS, strict=True):
        for name, curve in record[which].items():
            means, errors = ([each[key] for each in curve.values()] for key in ("value", "standard_error"))
            axes.errorbar([int(calls) for calls in curve], means, errors, marker="o", capsize=2, label=name)
        axes.axhline(record["training points"]["value"], color="grey", linestyle="--", label="as many training points")
        axes.set(xscale="log", title=f"{which} network", xlabel="network calls a point")
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.set(ylim=(-2e-3, 1), yticks=[-1e-3, 0, 1e-3, 1e-2, 1e-1, 1], ylabel="energy distance to test points")
        mark(axes, CALLS[which])
    panes[1].legend(fontsize="x-small")
    sentence = (
        f"Energy distance of {record['num_points']} points to test points, by network calls: mean and standard error "
        f"over {record['num_models']} trained models (left) and as many draws from the best network (right). Below "
        "0.001 the axis is linear."
    )
    save_curves(figure, sentence, path)


def main(out: str, *checkpoints: str) -> None:
    """Compares samplers on the models of the checkpoints, and as often on the best one."""
    loaded = [load_model(Path(checkpoint), use_ema=True) for checkpoint in checkpoints]
    (_, data, first), models = loaded[0], [model for _, _, model in loaded]
    assert isinstance(data, GaussiansDataModule)
    train, test = (torch.cat([batch.x_0 for batch in data.in_order(split)]).flatten(1) for split in ("train", "test"))
    real = test[:TEST_POINTS]
    floor = MeanAndError.of(torch.tensor([energy_distance(part, real) for part in train.split(POINTS)]))
    found = {
        "trained": race(models, CALLS["trained"], real),
        "best": race([best_model(data, first)] * len(models), CALLS["best"], real),
    }
    curves = {
        which: {name: {calls: each.stated() for calls, each in curve.items()} for name, curve in of_network.items()}
        for which, of_network in found.items()
    }
    about = {"num_points": POINTS, "num_test_points": len(real), "num_models": len(models), "commit": commit()}
    record = {**curves, "training points": floor.stated(), **about}
    draw(record, Path(f"{out}.png"))
    Path(f"{out}.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
