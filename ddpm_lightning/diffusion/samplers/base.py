"""The loop from x_T ~ N(0, I) to x_0, and the one step that each sampler defines."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.samplers.spacing import Spacing, UniformSpacing
from ddpm_lightning.typing import Images, Timesteps

RandnLike = Callable[[Images], Images]


class Step(NamedTuple):
    """One step of a trajectory: from x_t to x, which is x_{t−1}, by way of x̂_0 (Eq. 15). t counts the chain walked."""

    t: int
    x: Images
    x_0_hat: Images


def end_of(steps: Iterable[Step]) -> Images:
    """x_0: where a trajectory ends, [b, *d]. Keeps no step but the last."""
    x = torch.empty(0)
    for step in steps:
        x = step.x
    return x


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """Walks the reverse chain.

    num_steps: how many of the T steps are visited; None visits all. spacing: which ones.
    clip_x_0: whether x̂_0 is brought into [−1, 1] before it is used, as the official code does.
    """

    num_steps: int | None = None
    spacing: Spacing = field(default_factory=UniformSpacing)
    clip_x_0: bool = True

    name: ClassVar[str]

    @property
    def random(self) -> bool:
        """Whether one x_T can lead to several x_0."""
        return True

    @property
    def follows_variance(self) -> bool:
        """Whether the model's own σ_t² has a part in the walk."""
        return False

    @property
    def calls_per_step(self) -> int:
        """How often the network is asked at each step."""
        return 1

    def correct(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, randn_like: RandnLike) -> Images:
        """x_t moved on within q(x_t), before the step from it, for samplers that correct: [b, *d]; t: [b] in 1..T."""
        return x_t

    @abstractmethod
    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        """x̂_0 and the distribution of x_{t−1} given x_t: [b, *d], at t: [b] in 1..T of the chain walked.

        before: x̂_0 of the step before this one, for samplers that look back.
        """

    def label(self, model: DenoisingDiffusion) -> str:
        """What tells this walk from the paper's, "ancestral": ddim50, ancestral100_unclipped …; fit for file names."""
        steps = "" if self.num_steps in (None, model.process.T) else str(self.chain(model).process.T)
        spaced = self.spacing.label if steps else ""
        return f"{self.name}{steps}{spaced}" + ("" if self.clip_x_0 else "_unclipped")

    def calls(self, model: DenoisingDiffusion) -> int:
        """How many network calls an image costs."""
        return self.chain(model).process.T * self.calls_per_step

    def at_most_all(self, model: DenoisingDiffusion) -> "Sampler":
        """This sampler; where it has more steps than the model, one that visits all of them."""
        return replace(self, num_steps=None) if (self.num_steps or 0) > model.process.T else self

    def chain(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        """The model on the steps that this sampler visits. Raises UserError where there are no such steps."""
        if self.num_steps is None:
            return model
        return model.coarsen(self.spacing.steps(model.process.T, self.num_steps))

    def trajectory(
        self, model: DenoisingDiffusion, x_T: Images, *, randn_like: RandnLike, start: int | None = None
    ) -> Iterator[Step]:
        """Every step from x_T down to x_0; the last step adds no noise.

        start: where in the chain walked x_T really stands, 1..T, if it is an x_t: then the rest of the way.
        """
        model = self.chain(model)
        x, x_0_hat = x_T, None
        for t in range(model.process.T if start is None else start, 0, -1):
            with torch.no_grad():  # not around `yield`, where the caller's own mode holds
                steps = torch.full((len(x),), t, device=x.device)
                x = self.correct(model, x, steps, randn_like)
                x_0_hat, reverse = self.step(model, x, steps, x_0_hat)
                x = reverse.sample(randn_like(x)) if self.random and t > 1 else reverse.mean
            yield Step(t, x, x_0_hat)

    def sample(self, model: DenoisingDiffusion, x_T: Images, *, randn_like: RandnLike) -> Images:
        """x_0, the end of the trajectory: [b, *d], on the scale of the data, not clipped."""
        return end_of(self.trajectory(model, x_T, randn_like=randn_like))
