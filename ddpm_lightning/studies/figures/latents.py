"""Parts of the reverse chain, as figures walk them: from x_T down to some x_t, and from an x_t to x_0."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat

import torch

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Step, end_of
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import check_finite, walk_from, with_progress
from ddpm_lightning.typing import Images, Pixels


@dataclass
class Chain:
    """The reverse chain of a model, as its sampler walks it.

    A sampler may visit only some of the T steps. `t` is a step of the whole chain, in 1..T. `step` counts the visited
    ones, in 1..length. Images are processed in batches of `images.batch_size`.

    Args:
        subject: What is evaluated. It gives the seed and the precision.
        images: The model, its sampler and its data.
        doing: The text of the progress bar.
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
        """The device of the model."""
        return self.images.model.process.alpha_bar.device

    @property
    def length(self) -> int:
        """The number of steps that the sampler visits."""
        return self.walked.process.T

    def known_as(self, step: int) -> int:
        """Returns the t of a visited step."""
        return int(self.walked.steps[step])

    def place(self, t: int) -> int:
        """Returns the visited step that is nearest to t."""
        return self.walked.nearest_step(t)

    def nearest(self, t: int) -> int:
        """Returns the visited t that is nearest to this one; 0 for 0."""
        return self.known_as(self.place(t)) if t else 0

    def nearest_of(self, ts: Sequence[int]) -> list[int]:
        """Returns the visited t nearest to these, descending, each once."""
        return sorted({self.nearest(t) for t in ts}, reverse=True)

    def to_bytes(self, x: Images) -> Pixels:
        """Converts images from [−1, 1] to 0..255, on the CPU."""
        return self.images.data.pixels.to_bytes(x).cpu()

    def noise(self, numbers: Sequence[int], purpose: str) -> NoisePerImage:
        """Returns a source of noise that depends on (seed, purpose, number) for each image."""
        return NoisePerImage(self.subject.seed, numbers, self.device, purpose)

    def start(self, noise: NoisePerImage) -> Images:
        """Draws x_T ~ N(0, I) from a source of noise for n images: [n, c, h, w]."""
        return noise.randn(self.images.data.channels, *self.images.data.size)

    def walk(
        self, x_t: Images, start: int, noise: NoisePerImage, model: DenoisingDiffusion | None = None
    ) -> Iterator[Step]:
        """Yields the sampler's steps from x_t to x_0.

        Args:
            x_t: [n, c, h, w].
            start: The visited step that x_t belongs to, in 1..length.
            noise: The noise of the n images.
            model: The model, such as one conditioned on classes. None for `images.model`, without classes or guidance.
        """
        model = self.images.model if model is None else model
        steps = walk_from(model, self.images.sampler, x_t, noise, start)
        while True:
            with self.subject.fabric.autocast():  # not around `yield`: the caller's code has its own precision
                step = next(steps, None)
            if step is None:
                return
            yield step

    def whole(self, numbers: Sequence[int]) -> Iterator[Step]:
        """Yields all steps from x_T to x_0 of the images to which sample.py gives these numbers, as one batch.

        Raises:
            Diverged: x_0 is NaN or infinite.
        """
        noise = self.noise(numbers, "image")
        for step in self.walk(self.start(noise), self.length, noise, self.images.model_of(numbers)):
            yield step
        check_finite(step.x, numbers, self.subject.seed)

    def along(self, count: int, steps: Collection[int]) -> dict[int, Step]:
        """Returns x_t and x̂_0 of sample.py's first `count` images at the given visited steps, by step.

        In the result `Step.x` is x_t, where the sampler has x_{t−1}. If the sampler corrects x_t, this is x_t before
        the correction, and x̂_0 comes from x_t after it.
        """
        parts: dict[int, list[Step]] = {}
        for numbers in _batches(range(count), self.images.batch_size):
            noise = self.noise(numbers, "image")
            x = self.start(noise)
            for step in self.walk(x, self.length, noise, self.images.model_of(numbers)):
                if step.t in steps:
                    parts.setdefault(step.t, []).append(step._replace(x=x))
                x = step.x
            check_finite(x, numbers, self.subject.seed)
        return {
            step: Step(step, torch.cat([each.x for each in seen]), torch.cat([each.x_0_hat for each in seen]))
            for step, seen in parts.items()
        }

    def encode(self, x_0: Images, t: int, numbers: Sequence[int], purpose: str) -> Images:
        """Draws x_t ~ q(x_t | x_0)  (Eq. 4) for each x_0, with the same noise at every t: [n, c, h, w].

        Args:
            x_0: [n, c, h, w].
            t: The step, in 0..T.
            numbers: n numbers; the noise depends on (seed, purpose, number).
            purpose: A name for this use of the noise.
        """
        eps = self.noise(numbers, purpose).randn_like(x_0)
        return self.images.model.process.q_sample(x_0, torch.full((len(x_0),), t, device=x_0.device), eps)

    def decode(
        self, x_t: Images, t: int, numbers: Sequence[int], purpose: str, owners: Sequence[int] | None = None
    ) -> Images:
        """Draws x_0 ~ p_θ(x_0 | x_t) for each x_t: [n, c, h, w].

        Args:
            x_t: [n, c, h, w].
            t: Its step, in 0..T. The sampler starts at the nearest step that it visits. t = 0 returns x_t itself.
            numbers: n numbers; the noise depends on (seed, purpose, number).
            purpose: A name for this use of the noise.
            owners: The numbers of n images, whose classes, guidance and clipping apply. None for `images.model` alone.

        Raises:
            Diverged: Some x_0 is NaN or infinite.
        """
        if t == 0:
            return x_t
        start, size = self.place(t), self.images.batch_size
        models = repeat(None) if owners is None else map(self.images.model_of, _batches(owners, size))
        parts = zip(torch.split(x_t, size), _batches(numbers, size), models, strict=False)
        doing, total = f"{self.doing}, t = {t}", start * len(x_t)
        with progress_bar(total=total, desc=doing, unit="image step", unit_scale=True, leave=False) as bar:
            walks = (
                with_progress(self.walk(part, start, self.noise(of, purpose), model), bar, len(part))
                for part, of, model in parts
            )
            x_0 = torch.cat([end_of(steps) for steps in walks])
        check_finite(x_0, numbers, self.subject.seed)
        return x_0


def _batches(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]
