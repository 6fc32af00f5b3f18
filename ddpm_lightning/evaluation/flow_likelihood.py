"""Measures bits/dim of a split by the probability flow, whose density is exact up to the solver's error."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from ddpm_lightning.diffusion.dequantization import Dequantization
from ddpm_lightning.diffusion.likelihood import bits_per_dimension
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.probability_flow import (
    CALLS_PER_STEP,
    ProbabilityFlow,
    check_num_steps,
    every_direction,
    random_signs,
)
from ddpm_lightning.errors import UserError, check_at_most, check_whole, counted
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.split_share import check_first, check_split, first_label, measuring, share_of_split
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.runtime.results import MeanAndError, Records
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import frozen
from ddpm_lightning.typing import AnyExamples, ByProbe, Images

MAX_PROBES = 256
"""Largest number of probes. Each costs a backward pass through the network at every call."""


@dataclass
class FlowLikelihood(Metric):
    """Bits/dim of a split under the probability flow of the model, with dequantized pixels.

    On average the result is an upper bound of −log2 P(image) under the flow, as Eq. 5 is under the chain. The flow and
    the chain are different models, so neither number bounds the other. The draws depend only on (seed, image).

    Args:
        dequantization: turns integer pixels into real numbers, at a known cost in nats.
        split: "train" or "test".
        num_images: number of images, the first of the split; None for all.
        num_steps: steps of the ODE solver.
        num_probes: random directions per image of Hutchinson's trace estimate, from 2 to 256; None uses every
            direction, which is exact but expensive.
        name: key of the metric in the configuration, for error messages.

    References:
        Song et al., Score-Based Generative Modeling through SDEs, ICLR 2021. https://arxiv.org/abs/2011.13456
    """

    dequantization: Dequantization
    split: str = "test"
    num_images: int | None = None
    num_steps: int = 50
    num_probes: int | None = None
    name: str = "bpd_ode"

    generates = False

    def option(self, key: str) -> str:
        """Returns the full name of an option of this metric, as the user types it."""
        return f"metrics.{self.name}.{key}"

    def check(self, subject: Subject) -> None:
        """Raises UserError if there is no model or no such split, or if a number is out of bounds."""
        check_split(self.split)
        trained = subject.require_model(self.name)
        check_first(self.option("num_images"), self.num_images, trained, self.split)
        check_num_steps(self.option("num_steps"), self.num_steps)
        if self.num_probes is not None:
            check_whole(self.option("num_probes"), self.num_probes, 2, "its error needs two; null is exact")
            check_at_most(self.option("num_probes"), self.num_probes, MAX_PROBES, "use 4")
        elif (dimensions := trained.data.channels * math.prod(trained.data.size)) > MAX_PROBES:
            raise UserError(
                f"{self.option('num_probes')}=null asks for the exact trace, which takes images of {dimensions} "
                f"dimensions as many backward passes at every call; at most {MAX_PROBES} are allowed, so use 4, an "
                "estimate with its error"
            )

    def measure(self, subject: Subject) -> Records:
        """Returns bits/dim with its error over images and, if the trace is estimated, the error of that."""
        trained = subject.require_model(self.name)
        flow = ProbabilityFlow(trained.model, self.num_steps)  # for the number of its calls
        bits, variance = MeanAndError(), MeanAndError()
        total: dict[str, Any] = {"calls_per_image": flow.calls, "first": self.num_images}
        with frozen(trained.model), measuring(subject, trained, self.split, **total) as bar:
            for batch in share_of_split(subject, trained, self.split, first=self.num_images):
                found = self._bits(subject, trained.model.given(batch.y), batch, bar)
                bits.update(found.mean(0).cpu())
                variance.update((found.var(0) / len(found)).cpu())
        for mean in (bits, variance):
            mean.reduce(subject.fabric)
        if not subject.fabric.is_global_zero:
            return {}
        (name,) = self.result_names(subject)
        return {name: self._record(bits, variance, trained, flow)}

    def result_names(self, subject: Subject) -> list[str]:
        """Returns the name of the result in results.json."""
        return [f"{self.split}/bpd_ode_{self._label(subject.require_model(self.name))}"]

    def _bits(self, subject: Subject, model: DenoisingDiffusion, batch: AnyExamples, bar: "tqdm[Any]") -> ByProbe:
        """Returns bits/dim of each image with each probe, [probes, b]."""

        def each_step(_: Images) -> None:
            STOP.check()
            bar.update(CALLS_PER_STEP * len(batch.x_0))

        noise = NoisePerImage(subject.seed, batch.indices.tolist(), batch.x_0.device, "flow")
        x, cost = self.dequantization(model, batch.x_0, noise.randn_like)
        k = self.num_probes
        probes = every_direction(x) if k is None else random_signs(x, k, noise.randn_like)
        nats = cost - ProbabilityFlow(model, self.num_steps).log_density(x, probes, each_step)
        return torch.stack([bits_per_dimension(each, x) for each in nats])

    def _label(self, trained: Trained) -> str:
        """Returns the suffix of this metric's name in results.json."""
        model = trained.model
        label = self.dequantization.label(model) + model.conditioning.suffix
        return label + trained.suffix + first_label(self.num_images)

    def _record(
        self, bits: MeanAndError, variance: MeanAndError, trained: Trained, flow: ProbabilityFlow
    ) -> dict[str, Any]:
        exact = self.num_probes is None
        return {
            **bits.stated(),
            **({} if exact else {"trace_error": math.sqrt(variance.mean / variance.count)}),
            "unit": "bits/dim",
            "estimator": "exact trace" if exact else f"Hutchinson's, {self.num_probes} probes an image",
            "solver": f"Runge-Kutta of fourth order, {counted(self.num_steps, 'step')} in log sigma",
            "network_calls": flow.calls * bits.count,
            "split": self.split,
            "num_images": bits.count,
            "levels": trained.model.levels,
            **self.dequantization.origin,
            **trained.origin,
        }
