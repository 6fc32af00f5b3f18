"""Measures whether the bound for large T depends on the schedule's ends alone (Kingma et al., 2021).

The data are a ring of Gaussians, for which the best network is known, so nothing is trained.

python -m benchmarks.mathematics.limit [FOLDER]        prints a table; writes limit.png and limit.json into the folder
"""

import json
import sys
from pathlib import Path

import torch

from ddpm_lightning.data.points import GaussiansDataModule
from ddpm_lightning.diffusion.likelihood import bound_term, interpolate
from ddpm_lightning.diffusion.mixture import BestNetwork, Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import (
    ConstantSchedule,
    CosineSchedule,
    JSDSchedule,
    LinearSchedule,
    LogSNRLinearSchedule,
    QuadraticSchedule,
    Schedule,
    schedule_of_log_snr,
)
from ddpm_lightning.diffusion.time_spent import fading
from ddpm_lightning.diffusion.variances import BetaTildeVariance
from ddpm_lightning.runtime.plots import new_figure
from ddpm_lightning.runtime.results import MeanAndError, commit
from ddpm_lightning.studies.figures.canvas import draw_errors, save_curves

STEPS = (10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 8000)
SHAPES = (LinearSchedule, CosineSchedule, QuadraticSchedule, ConstantSchedule, JSDSchedule, LogSNRLinearSchedule)
CALLS = 500_000
"""Number of network calls for each bound."""

AT_ONCE = 20_000
"""Of them."""

ENDS = LinearSchedule()
"""The paper's schedule. All schedules get its SNR_1 and SNR_T."""


def stretched(shape: type[Schedule], T: int) -> GaussianDiffusion:
    """Returns a schedule of T steps along the path of 1000 steps, with its log SNR stretched to the common ends."""
    ends = GaussianDiffusion(ENDS).snr.log()
    way = fading(GaussianDiffusion(shape(T=1000)))
    u, known = (torch.linspace(0, 1, length, dtype=torch.float64) for length in (T, 1000))
    return GaussianDiffusion(schedule_of_log_snr(ends[1] + (ends[-1] - ends[1]) * interpolate(u, known, way)))


def bound(process: GaussianDiffusion, calls: int) -> MeanAndError:
    """Estimates Σ_{t>1} L_{t−1} in bits/dim, from calls/T sums over all t with a new point for each term.

    So the error is equally small for long and for short chains.
    """
    ring = GaussiansDataModule()
    mixture = Mixture(ring.means, ring.noise)
    network = BestNetwork(mixture, process, Epsilon())
    model = DenoisingDiffusion(network, process, Epsilon(), BetaTildeVariance())
    t = torch.arange(2, process.T + 1).repeat(AT_ONCE // process.T)
    draw = torch.Generator().manual_seed(0)
    sums = []
    for _ in range(calls // AT_ONCE):
        parts = torch.randint(ring.num_parts, t.shape, generator=draw)
        x_0 = ring.means[parts] + ring.noise * torch.randn(len(t), 2, generator=draw, dtype=torch.float64)
        x_t = process.q_sample(x_0, t, torch.randn(x_0.shape, generator=draw, dtype=torch.float64))
        sums.append(bound_term(model, model(x_t, t), x_0, x_t, t).reshape(-1, process.T - 1).sum(1))
    return MeanAndError.of(torch.cat(sums))


def measure(steps: tuple[int, ...] = STEPS, calls: int = CALLS) -> dict[str, dict[int, MeanAndError]]:
    """Returns the bound by schedule and T."""
    return {shape.__name__: {T: bound(stretched(shape, T), calls) for T in steps} for shape in SHAPES}


def draw(found: dict[str, dict[int, MeanAndError]], calls: int, path: Path) -> None:
    """Draws the bound against T, a line for each schedule."""
    figure, axes = new_figure()
    axes.set(xlabel="T, steps of the chain", ylabel="Σ L over t > 1, bits/dim", xscale="log", yscale="log")
    for name, by_T in found.items():
        draw_errors(axes, by_T, label=name.removesuffix("Schedule"))
    axes.legend(fontsize="small")
    sentence = (
        f"A ring of eight Gaussians, its best network; all schedules from one SNR_1 to one SNR_T; {calls:,} calls."
    )
    save_curves(figure, sentence, path)


def main(folder: Path | None, calls: int = CALLS) -> None:
    found = measure(calls=calls)
    for name, by_T in found.items():
        print(name, *(f"T={T}: {each.mean:.4f} ± {each.standard_error:.4f}" for T, each in by_T.items()), sep="  ")
    if folder is not None:
        draw(found, calls, folder / "limit.png")
        told = {name: {T: each.stated() for T, each in by_T.items()} for name, by_T in found.items()}
        record = {"unit": "bits/dim", "calls": calls, "commit": commit(), "bound": told}
        (folder / "limit.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
