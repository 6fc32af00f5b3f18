"""The parts of the reverse chain that figures walk: from x_T to some x_t, and from an x_t to x_0."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from tqdm import tqdm

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Step, end_of
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import check_finite, counted, onward
from ddpm_lightning.typing import Images, Pixels


@dataclass
class Chain:
    """The reverse chain of a subject's model, as its sampler walks it.

    t counts the chain that the network knows, 1..T; a `step` the chain walked, 1..length, which may visit fewer.
    Everything is done in batches of the images' batch_size. doing: what the bar says.
    """

    subject: Subject
    images: Generated
    doing: str = field(default="Decoding", kw_only=True)

    @cached_property
    def walked(self) -> DenoisingDiffusion:
        """The model on the steps that the sampler visits."""
        return self.images.sampler.chain(self.images.model)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.images.model.process.alpha_bar.device

    @property
    def length(self) -> int:
        """How many steps the sampler walks."""
        return self.walked.process.T

    def known_as(self, step: int) -> int:
        """t of a step."""
        return int(self.walked.steps[step])

    def place(self, t: int) -> int:
        """The step that is nearest to t."""
        return self.walked.place(t)

    def nearest(self, t: int) -> int:
        """The t, nearest to this one, that the sampler visits; 0 stays 0."""
        return self.known_as(self.place(t)) if t else 0

    def nearest_of(self, ts: Sequence[int]) -> list[int]:
        """The same of several, descending, each once."""
        return sorted({self.nearest(t) for t in ts}, reverse=True)

    def to_bytes(self, x: Images) -> Pixels:
        """Pictures of 0..255, on the CPU."""
        return self.images.data.pixels.to_bytes(x).cpu()

    def noise(self, numbers: Sequence[int], purpose: str) -> NoisePerImage:
        """Randomness that belongs to (seed, purpose, number)."""
        return NoisePerImage(self.subject.seed, numbers, self.device, purpose)

    def start(self, noise: NoisePerImage) -> Images:
        """x_T ~ N(0, I): [count, c, h, w]."""
        return noise.randn(self.images.data.channels, *self.images.data.size)

    def walk(self, x_t: Images, start: int, noise: NoisePerImage) -> Iterator[Step]:
        """The steps from x_t, which stands at step `start`, to x_0."""
        steps = onward(self.images.model, self.images.sampler, x_t, noise, start)
        while True:
            with self.subject.fabric.autocast():  # not around `yield`, where what is done is the caller's
                step = next(steps, None)
            if step is None:
                return
            yield step

    def whole(self, numbers: Sequence[int]) -> Iterator[Step]:
        """Every step of one batch of images, which are sample.py's. Raises Diverged where they become no numbers."""
        noise = self.noise(numbers, "image")
        for step in self.walk(self.start(noise), self.length, noise):
            yield step
        check_finite(step.x, numbers, self.subject.seed)

    def along(self, count: int, steps: Collection[int]) -> dict[int, Step]:
        """Of sample.py's first `count` images, x_t (as Step.x, where else x_{t−1} stands) and x̂_0 at these steps.
        Of a sampler that corrects, x_t stands before the corrections, and x̂_0 is what the network makes of it after."""
        parts: dict[int, list[Step]] = {}
        for numbers in _batches(range(count), self.images.batch_size):
            noise = self.noise(numbers, "image")
            x = self.start(noise)
            for step in self.walk(x, self.length, noise):
                if step.t in steps:
                    parts.setdefault(step.t, []).append(step._replace(x=x))
                x = step.x
            check_finite(x, numbers, self.subject.seed)
        return {
            step: Step(step, torch.cat([each.x for each in seen]), torch.cat([each.x_0_hat for each in seen]))
            for step, seen in parts.items()
        }

    def encode(self, x_0: Images, t: int, numbers: Sequence[int], purpose: str) -> Images:
        """x_t ~ q(x_t | x_0), Eq. 4; the noise belongs to (seed, purpose, number), the same at every t."""
        eps = self.noise(numbers, purpose).randn_like(x_0)
        return self.images.model.process.q_sample(x_0, torch.full((len(x_0),), t, device=x_0.device), eps)

    def decode(self, x_t: Images, t: int, numbers: Sequence[int], purpose: str) -> Images:
        """x_0 ~ p_θ(x_0 | x_t) for each x_t, [n, c, h, w]; t = 0 gives x_t back. The noise belongs to
        (seed, purpose, number). Raises Diverged where the model makes no numbers."""
        if t == 0:
            return x_t
        start = self.place(t)
        with self._bar(start * len(x_t), t) as bar:
            x_0 = torch.cat(
                [
                    end_of(counted(self.walk(part, start, self.noise(of_part, purpose)), bar, len(part)))
                    for part, of_part in zip(
                        torch.split(x_t, self.images.batch_size),
                        _batches(numbers, self.images.batch_size),
                        strict=True,
                    )
                ]
            )
        check_finite(x_0, numbers, self.subject.seed)
        return x_0

    def _bar(self, total: int, t: int) -> "tqdm[Any]":
        return progress_bar(total=total, desc=f"{self.doing}, t = {t}", unit="image step", unit_scale=True, leave=False)


def _batches(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]
