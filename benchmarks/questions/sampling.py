"""Times a step of sampling (Algorithm 2, line 4), side by side."""

from dataclasses import dataclass

import torch

from benchmarks.benchmark import Benchmark
from benchmarks.device import FULL_PRECISION, device
from benchmarks.findings import Findings, compare
from benchmarks.measure import Side, take_turns
from benchmarks.sides.ours import NAME, module_of_shape, sampling_step
from benchmarks.sides.peers import (
    DIFFUSERS,
    LUCIDRAINS,
    network_of_diffusers,
    network_of_lucidrains,
    sampling_of_diffusers,
    sampling_of_lucidrains,
)
from benchmarks.sides.shape import PAPER, Shape
from tests.peers import copy_weights


@dataclass(frozen=True, kw_only=True)
class SamplingStep(Benchmark):
    """Times one step of ancestral sampling.

    Ours and diffusers' have the same network with the same weights. denoising-diffusion-pytorch has its own network, of
    about as many parameters.
    """

    batch_size: int = 64
    precision: str = FULL_PRECISION
    shape: Shape = PAPER
    at_least: float = 0.0

    question = "How long does a sampling step take, with the same network at the same precision?"

    def measure(self) -> Findings:
        found = take_turns(self._sides(), self.rounds, self.at_least)
        what = f"sampling step, batch {self.batch_size}, {self.precision}"
        peers = (DIFFUSERS, LUCIDRAINS)
        return Findings([compare(what, (NAME, peer), found[NAME], found[peer], target=1.25) for peer in peers])

    def _sides(self) -> dict[str, Side]:
        how = (self.shape, self.batch_size, self.precision)
        theirs, model = network_of_diffusers(self.shape).eval(), module_of_shape(self.shape).model
        copy_weights(theirs, model.network)  # type: ignore[arg-type]
        theirs.to(device())
        lucidrains = network_of_lucidrains(self.shape)
        return {
            NAME: sampling_step(model, *how),
            DIFFUSERS: torch.no_grad()(sampling_of_diffusers(theirs, *how)),
            LUCIDRAINS: sampling_of_lucidrains(lucidrains, *how),
        }
