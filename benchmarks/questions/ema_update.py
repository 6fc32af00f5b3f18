"""Compares our update of the averaged weights with loops of others, and with copying as many bytes."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from benchmarks.benchmark import Benchmark
from benchmarks.device import device
from benchmarks.findings import Findings, compare
from benchmarks.measure import Side, take_turns
from benchmarks.sides.ours import NAME, idle_trainer, module_of_shape
from benchmarks.sides.shape import PAPER, Shape
from ddpm_lightning.training.callbacks.ema import EMA

DECAY = 0.9999
LOOP, LERP, MODEL = "per-tensor Python loop", "per-tensor loop of lerp_", "diffusers' EMAModel"
PASS, COPY = "copy of as many bytes", "copy of the weights"


@dataclass(frozen=True, kw_only=True)
class EMAUpdate(Benchmark):
    """Times an update, which reads θ and θ̄ and writes θ̄. Copying 1.5 times the weights moves as many bytes."""

    shape: Shape = PAPER
    at_least: float = 0.2

    question = "How long does the EMA of all weights take?"

    def measure(self) -> Findings:
        found = take_turns(self._sides(), self.rounds, self.at_least)
        targets = {LOOP: 3.0, LERP: None, MODEL: None, PASS: 1 / 1.3, COPY: None}
        return Findings(
            [
                compare("EMA update", (NAME, peer), found[NAME], found[peer], target=target)
                for peer, target in targets.items()
            ]
        )

    def _sides(self) -> dict[str, Side]:
        module = module_of_shape(self.shape)
        weights = list(module.model.parameters())
        size = sum(weight.numel() for weight in weights)
        average = EMAModel(weights, decay=DECAY)
        return {
            NAME: ours(EMA(DECAY), module),
            LOOP: _loop(weights),
            LERP: _lerp(weights),
            MODEL: lambda: average.step(weights),
            PASS: _copy(size * 3 // 2),
            COPY: _copy(size),
        }


def ours(ema: EMA, module: Any) -> Side:
    """Returns our update, as Lightning calls it after each step."""
    trainer = idle_trainer()
    return lambda: ema.on_train_batch_end(trainer, module, {}, None, 0)


def _copies(weights: list[nn.Parameter]) -> list[Tensor]:
    return [weight.detach().clone() for weight in weights]


def _loop(weights: list[nn.Parameter]) -> Side:
    shadow = _copies(weights)

    @torch.no_grad()
    def update() -> None:
        for average, weight in zip(shadow, weights, strict=True):
            average.copy_(DECAY * average + (1 - DECAY) * weight)

    return update


def _lerp(weights: list[nn.Parameter]) -> Side:
    shadow = _copies(weights)

    @torch.no_grad()
    def update() -> None:
        for average, weight in zip(shadow, weights, strict=True):
            average.lerp_(weight, 1 - DECAY)

    return update


def _copy(numbers: int) -> Side:
    source, target = torch.rand(2, numbers, device=device())
    return lambda: target.copy_(source)
