"""Measures how far the bound is above the flow's bits/dim, point by point, with the exact trace.

python -m benchmarks.mathematics.paired_bits OUT CHECKPOINT [CHECKPOINT …]     writes OUT.json
"""

import json
import sys
from pathlib import Path

import torch

from ddpm_lightning.configuration.build import EvaluationData
from ddpm_lightning.diffusion.dequantization import DecoderDequantization
from ddpm_lightning.diffusion.likelihood import bits_per_dimension, every_term, prior_term
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.probability_flow import ProbabilityFlow, every_direction
from ddpm_lightning.runtime.results import MeanAndError, commit
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.checkpoint import load_model
from ddpm_lightning.typing import Images, PerExample

POINTS = 500
SEED = 0


@torch.no_grad()
def bound(model: DenoisingDiffusion, x_0: Images) -> PerExample:
    """Returns Eq. 5 for each image, with the noise of metrics=bpd."""
    noise = NoisePerImage(SEED, range(len(x_0)), purpose="bound")
    terms = every_term(model, x_0, randn_like=noise.randn_like, clip_x_0=True)
    return prior_term(model, x_0).double() + torch.stack([each.term.double() for each in terms]).sum(0)


def flow(model: DenoisingDiffusion, x_0: Images) -> PerExample:
    """Returns the flow's bits/dim for each image, with the noise of metrics=bpd_ode."""
    noise = NoisePerImage(SEED, range(len(x_0)), purpose="flow")
    with torch.no_grad():
        y, cost = DecoderDequantization()(model, x_0, noise.randn_like)
    return bits_per_dimension(cost - ProbabilityFlow(model).log_density(y, every_direction(y)).mean(0), y)


def difference(model: DenoisingDiffusion, data: EvaluationData) -> PerExample:
    """Returns bound − flow for the first POINTS test images."""
    x_0 = torch.cat([batch.x_0 for batch in data.in_order("test", first=POINTS)])
    return bound(model, x_0) - flow(model, x_0)


def main(out: str, *checkpoints: str) -> None:
    """Measures each checkpoint's model, and the mean over models. Errors are over images, which all models share."""
    found = {}
    for checkpoint in checkpoints:
        _, data, model = load_model(Path(checkpoint), use_ema=True)
        found[Path(checkpoint).parent.parent.name] = difference(model, data)
    found["mean of the models"] = torch.stack(list(found.values())).mean(0)
    means = {name: MeanAndError.of(values) for name, values in found.items()}
    record = {name: each.stated() for name, each in means.items()}
    about = {"unit": "bits/dim", "num_images": POINTS, "commit": commit()}
    Path(f"{out}.json").write_text(json.dumps({"bound above flow": record, **about}, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
