"""How good are samplers at equal network calls? Points of a ring of Gaussians, from trained networks and the best one.

python -m tests.diffusion.equal_calls OUT CHECKPOINT [CHECKPOINT …]     writes OUT.json and OUT.png
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure

from ddpm_lightning.data.points import GaussiansDataModule
from ddpm_lightning.diffusion.langevin import LangevinSampler, PredictorCorrector
from ddpm_lightning.diffusion.mixture import BestNetwork, Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler
from ddpm_lightning.diffusion.spacing import QuadraticSpacing
from ddpm_lightning.metrics.energy import energy_distance
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.checkpoint import load_model
from ddpm_lightning.training.results import MeanAndError, commit
from ddpm_lightning.typing import PointCloud

POINTS = 1000
TEST_POINTS = 5000
SPACED = {"spacing": QuadraticSpacing()}

Kind = Callable[[int], Sampler]
"""A sampler of so many network calls an image."""

SAMPLERS: dict[str, Kind] = {
    "ancestral": lambda calls: AncestralSampler(num_steps=calls, **SPACED),
    "DDIM": lambda calls: DDIMSampler(num_steps=calls, **SPACED),
    "Langevin, 10 at each t, step 0.2": lambda calls: LangevinSampler(num_steps=calls // 10, **SPACED),
    "Langevin, 10 at each t, step 1": lambda calls: LangevinSampler(num_steps=calls // 10, step_size=1.0, **SPACED),
    "predictor–corrector, ancestral": lambda calls: PredictorCorrector(num_steps=calls // 2, **SPACED),
    "predictor–corrector, DDIM": lambda calls: PredictorCorrector(num_steps=calls // 2, eta=0.0, **SPACED),
}
CALLS = {"trained": (20, 50, 100, 200), "best": (20, 50, 100, 200, 500, 1000)}

Found = Mapping[str, Mapping[int, MeanAndError]]
"""By sampler and number of calls: the energy distance, over models or draws."""


def distance(model: DenoisingDiffusion, sampler: Sampler, real: PointCloud, seed: int) -> float:
    """The energy distance of POINTS points of a model to real ones."""
    noise = NoisePerImage(seed, range(POINTS))
    x_0 = sampler.sample(model, noise.randn(2, 1, 1), randn_like=noise.randn_like)
    return energy_distance(x_0.flatten(1), real)


def race(
    models: list[DenoisingDiffusion], calls: tuple[int, ...], real: PointCloud
) -> dict[str, dict[int, MeanAndError]]:
    """Every sampler at every number of calls; model number i draws with seed i."""
    found: dict[str, dict[int, MeanAndError]] = {}
    for name, kind in SAMPLERS.items():
        found[name] = {}
        for number in calls:
            distances = [distance(model, kind(number), real, seed) for seed, model in enumerate(models)]
            found[name][number] = MeanAndError.of(torch.tensor(distances, dtype=torch.float64))
            print(f"{name} | {number} | {found[name][number].mean:.5f} ± {found[name][number].standard_error:.5f}")
    return found


def best_model(data: GaussiansDataModule, like: DenoisingDiffusion) -> DenoisingDiffusion:
    """With the best network in place of the trained one."""
    network = BestNetwork(Mixture(data.means, data.noise), like.process, like.parameterization)
    return DenoisingDiffusion(network, like.process, like.parameterization, like.variance, like.levels)


def draw(found: Mapping[str, Found], floor: float, path: Path) -> None:
    """A panel for the trained networks, and one for the best."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, (which, curves) in zip(figure.subplots(1, 2, sharey=True), found.items(), strict=True):
        for name, curve in curves.items():
            means, errors = [each.mean for each in curve.values()], [each.standard_error for each in curve.values()]
            axes.errorbar(list(curve), means, errors, marker="o", markersize=4, capsize=2, label=name)
        axes.axhline(floor, color="grey", linestyle="--", label="as many training points")
        axes.set(xscale="log", title=f"{which} network", xlabel="network calls a point")
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("energy distance to test points")
    figure.axes[1].legend(fontsize="x-small")
    figure.savefig(path, dpi=150)


def main(out: str, *checkpoints: str) -> None:
    """Races the models of the checkpoints, and as many times the best one."""
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
    draw(found, floor.mean, Path(f"{out}.png"))
    record = {
        which: {
            name: {calls: {"value": e.mean, "standard_error": e.standard_error} for calls, e in curve.items()}
            for name, curve in curves.items()
        }
        for which, curves in found.items()
    }
    training = {"value": floor.mean, "standard_error": floor.standard_error}
    about = {"num_points": POINTS, "num_test_points": len(real), "num_models": len(models), "commit": commit()}
    Path(f"{out}.json").write_text(json.dumps({**record, "training points": training, **about}, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
