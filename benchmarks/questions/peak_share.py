"""Measures which share of the machine's peak operations/s a step reaches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.benchmark import Benchmark
from benchmarks.device import FULL_PRECISION, HALF_PRECISION, device
from benchmarks.findings import Comparison, Figure, Findings, compare
from benchmarks.measure import Side, seconds, spread, take_turns
from benchmarks.sides.flops import flops_of_call, flops_of_step
from benchmarks.sides.ours import TrainOurs, module_of_shape, network_of_paper, sampling_step
from benchmarks.sides.shape import PAPER, Shape

DTYPES = {FULL_PRECISION: torch.float32, HALF_PRECISION: torch.bfloat16}


@dataclass(frozen=True)
class Product:
    """A matrix product or a convolution, with its number of operations."""

    name: str
    flops: int
    run: Side


def matrix_product(n: int, dtype: torch.dtype) -> Product:
    """Returns the product of two n×n matrices."""
    a, b = torch.randn(2, n, n, device=device()).to(dtype)
    return Product(f"matrices of {n}×{n}", 2 * n**3, lambda: a @ b)


def convolution(channels: int, side: int, batch_size: int, dtype: torch.dtype) -> Product:
    """Returns a padded 3×3 convolution with equal numbers of input and output channels."""
    x = torch.randn(batch_size, channels, side, side, device=device()).to(dtype)
    kernel = torch.randn(channels, channels, 3, 3, device=device()).to(dtype)
    flops = 2 * 9 * channels**2 * side**2 * batch_size
    return Product(
        f"convolution of {channels} channels at {side}×{side}", flops, lambda: F.conv2d(x, kernel, padding=1)
    )


@dataclass(frozen=True)
class Step:
    """A step that should reach a share of the peak. target: that share."""

    what: str
    run: Side
    flops: int
    target: float


@dataclass(frozen=True, kw_only=True)
class PeakShare(Benchmark):
    """Finds the peak as the best of several sizes, and then times it in turns with the steps."""

    matrices: tuple[int, ...] = (1024, 2048, 4096)
    convolutions: tuple[tuple[int, int], ...] = ((128, 32), (256, 16), (512, 16))
    train_batch_size: int = 16
    sample_batch_size: int = 64
    shape: Shape = PAPER

    question = "What share of the machine's measured matrix-multiply peak does a step reach?"

    def measure(self) -> Findings:
        findings = Findings()
        for precision, training, sampling in ((FULL_PRECISION, 0.85, 0.80), (HALF_PRECISION, 0.60, 0.80)):
            peak = max(self._products(DTYPES[precision]), key=_rate)
            steps = [self._training(precision, training), self._sampling(precision, sampling)]
            found = take_turns({"peak": peak.run, **{step.what: step.run for step in steps}}, self.rounds)
            findings.comparisons += [_share(step, found[step.what], peak, found["peak"]) for step in steps]
            rate = spread([peak.flops / turn / 1e9 for turn in found["peak"]])
            findings.figures.append(Figure(f"peak, {precision}: {peak.name}", rate, "GFLOP/s"))
        return findings

    def _products(self, dtype: torch.dtype) -> Iterator[Product]:
        yield from (matrix_product(n, dtype) for n in self.matrices)
        yield from (convolution(c, side, self.train_batch_size, dtype) for c, side in self.convolutions)

    def _training(self, precision: str, target: float) -> Step:
        b = self.train_batch_size
        flops = flops_of_step(network_of_paper, self.shape, b)
        what = f"training step, batch {b}, {precision}"
        return Step(what, TrainOurs()(self.shape, b, precision), flops, target)

    def _sampling(self, precision: str, target: float) -> Step:
        b = self.sample_batch_size
        flops = flops_of_call(network_of_paper, self.shape, b)
        what = f"sampling step, batch {b}, {precision}"
        return Step(what, sampling_step(module_of_shape(self.shape).model, self.shape, b, precision), flops, target)


def _share(step: Step, took: list[float], peak: Product, at_peak: list[float]) -> Comparison:
    as_much = [step.flops / peak.flops * turn for turn in at_peak]
    return compare(step.what, ("the step", "as many operations at the peak"), took, as_much, target=step.target)


def _rate(product: Product) -> float:
    product.run()
    return product.flops / min(seconds(product.run) for _ in range(3))
