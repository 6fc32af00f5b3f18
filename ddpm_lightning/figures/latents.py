"""The parts of the reverse chain that figures walk: from x_T to some x_t, and from an x_t to x_0."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.samplers import Step, end_of
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.evaluation.images import Generated
from ddpm_lightning.training.evaluation.subject import Subject
from ddpm_lightning.training.generate import check_finite, evaluating
from ddpm_lightning.training.signals import STOP
from ddpm_lightning.typing import Images


@dataclass(frozen=True)
class Chain:
    """The reverse chain of a subject's model, as its sampler walks it.

    t counts the chain that the network knows, 1..T; a `step` the chain walked, 1..length, which may visit fewer.
    """

    subject: Subject
    images: Generated

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.images.model.process.alpha_bar.device

    @property
    def length(self) -> int:
        """How many steps the sampler walks."""
        return self.images.sampler.chain(self.images.model).process.T

    def known_as(self, step: int) -> int:
        """t of a step of the chain walked, 1..length."""
        return int(self.images.sampler.chain(self.images.model).steps[step])

    def place(self, t: int) -> int:
        """The step of the chain walked, 1..length, nearest to t."""
        return self.images.sampler.chain(self.images.model).place(t)

    def nearest(self, t: int) -> int:
        """The t, nearest to this one, that the sampler visits; 0 stays 0."""
        return self.known_as(self.place(t)) if t else 0

    def nearest_of(self, ts: Sequence[int]) -> list[int]:
        """The same of several, descending, each once."""
        return sorted({self.nearest(t) for t in ts}, reverse=True)

    def noise(self, numbers: Sequence[int], purpose: str) -> NoisePerImage:
        """Randomness that belongs to (seed, purpose, number)."""
        return NoisePerImage(self.subject.seed, numbers, self.device, purpose)

    def start(self, noise: NoisePerImage) -> Images:
        """x_T ~ N(0, I): [count, c, h, w]."""
        return noise.randn(self.images.data.channels, *self.images.data.size)

    def samples(self, numbers: Sequence[int]) -> Iterator[Step]:
        """The whole way of the images of these numbers, which are sample.py's. Raises Diverged where they become no
        numbers."""
        noise = self.noise(numbers, "image")
        step = None
        for step in self.walk(self.start(noise), self.length, noise):
            yield step
        assert step is not None
        check_finite(step.x, numbers, self.subject.seed)

    def walk(self, x_t: Images, start: int, noise: NoisePerImage) -> Iterator[Step]:
        """The steps from x_t, which stands at step `start` of the chain walked, to x_0."""
        model, sampler = self.images.model, self.images.sampler
        with evaluating(model), self.subject.fabric.autocast():
            for step in sampler.trajectory(model, x_t, randn_like=noise.randn_like, start=start):
                STOP.check()
                yield step

    def encode(self, x_0: Images, t: int, numbers: Sequence[int], purpose: str) -> Images:
        """x_t ~ q(x_t | x_0), Eq. 4; the noise belongs to (seed, purpose, number), the same at every t."""
        eps = self.noise(numbers, purpose).randn_like(x_0)
        return self.images.model.process.q_sample(x_0, torch.full((len(x_0),), t, device=x_0.device), eps)

    def decode(self, x_t: Images, t: int, numbers: Sequence[int], purpose: str) -> Images:
        """x_0 ~ p_θ(x_0 | x_t) for each x_t, [n, c, h, w], in batches; t = 0 gives x_t back. The noise belongs to
        (seed, purpose, number). Raises Diverged where the model makes no numbers."""
        if t == 0:
            return x_t
        size, parts = self.images.batch_size, []
        for first, part in zip(range(0, len(x_t), size), torch.split(x_t, size), strict=True):
            noise = self.noise(numbers[first : first + size], purpose)
            parts.append(end_of(self.walk(part, self.place(t), noise)))
        x_0 = torch.cat(parts)
        check_finite(x_0, numbers, self.subject.seed)
        return x_0
