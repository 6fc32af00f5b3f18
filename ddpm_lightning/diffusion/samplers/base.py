"""The loop from x_T ~ N(0, I) to x_0, and the interface of the step that each sampler defines."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.samplers.spacing import Spacing, UniformSpacing
from ddpm_lightning.typing import Images, Timesteps

RandnLike = Callable[[Images], Images]
"""A function that draws ε ~ N(0, I) in the shape and dtype of its argument."""


class Step(NamedTuple):
    """One step of a trajectory, from x_t to x_{t−1}.

    Args:
        t: the step in the chain of the sampler, in 1..K.
        x: x_{t−1}, [b, *d].
        x_0_hat: x̂_0 at x_t  (Eq. 15), [b, *d].
    """

    t: int
    x: Images
    x_0_hat: Images


class Traits(NamedTuple):
    """Facts about a sampler that its callers need.

    Args:
        random: whether one x_T can lead to several x_0.
        follows_variance: whether the model's σ_t² has an effect.
        calls_per_step: the number of network calls per step and image.
        calls_saved: how many of them the last step does without.
        suffix: the end of the sampler's label, which names its own settings.
        calls_added: the number of network calls per image beside those of the steps.
    """

    random: bool = True
    follows_variance: bool = False
    calls_per_step: int = 1
    calls_saved: int = 0
    suffix: str = ""
    calls_added: int = 0

    def calls(self, num_steps: int) -> int:
        """Returns the number of network calls per image of a chain of num_steps steps."""
        return num_steps * self.calls_per_step - self.calls_saved + self.calls_added

    def steps_within(self, calls: int) -> int:
        """Returns the largest number of steps that need at most `calls` network calls per image."""
        return (calls + self.calls_saved - self.calls_added) // self.calls_per_step


def end_of(steps: Iterable[Step]) -> Images:
    """Returns x of the last step of a trajectory: [b, *d]. It keeps no other step in memory."""
    x = torch.empty(0)
    for step in steps:
        x = step.x
    return x


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """Generates images by a chain of steps from x_T to x_0.

    A subclass defines one step. It overrides `traits` if the defaults do not describe it.

    Args:
        num_steps: the number K of steps to visit, in 1..T; None visits all T.
        spacing: which K steps to visit.
        clip_x_0: whether to clip x̂_0 to [−1, 1] before it is used, as the official code does.

    Attributes:
        name: the start of the sampler's label.

    Example:
        >>> class MeanSampler(Sampler):
        ...     '''Takes the mean of p_θ(x_{t−1} | x_t), without noise.'''
        ...
        ...     name = "mean"
        ...     traits = Traits(random=False)
        ...
        ...     def step(self, model, x_t, t, before=None):
        ...         return model.denoise(x_t, t, self.clip_x_0)
    """

    num_steps: int | None = None
    spacing: Spacing = field(default_factory=UniformSpacing)
    clip_x_0: bool = True

    name: ClassVar[str]

    @property
    def traits(self) -> Traits:
        """The facts about this sampler that its callers use."""
        return Traits()

    @abstractmethod
    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        """Returns x̂_0 and the distribution of x_{t−1}.

        Args:
            model: the reverse process on the visited steps.
            x_t: [b, *d].
            t: [b] in 1..K.
            before: x̂_0 of the step before this one, [b, *d]; None at the first step.
        """

    def correct(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, randn_like: RandnLike) -> Images:
        """Moves x_t within q(x_t) before the step from it: [b, *d]. By default it returns x_t.

        Args:
            model: the reverse process on the visited steps.
            x_t: [b, *d].
            t: [b] in 1..K.
            randn_like: draws ε ~ N(0, I) in the shape of its argument.
        """
        return x_t

    def label(self, model: DenoisingDiffusion) -> str:
        """Returns the sampler's name in results and file names, such as "ancestral" or "ddim50_unclipped"."""
        steps = "" if self.num_steps in (None, model.process.T) else str(self.chain(model).process.T)
        spaced = self.spacing.label if steps else ""
        return f"{self.name}{steps}{spaced}" + ("" if self.clip_x_0 else "_unclipped") + self.traits.suffix

    def calls(self, model: DenoisingDiffusion) -> int:
        """Returns the number of network calls per image."""
        return self.traits.calls(self.chain(model).process.T)

    def at_most_all(self, model: DenoisingDiffusion) -> "Sampler":
        """Returns this sampler with all T steps of the model, if num_steps is more than it can visit."""
        most = model.process.T - self.spacing.skip_first
        return replace(self, num_steps=None) if (self.num_steps or 0) > most else self

    def chain(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        """Returns the model on the steps that this sampler visits. Raises UserError if it cannot have them."""
        return model if self.num_steps is None else model.coarsen(self.visited(model))

    def visited(self, model: DenoisingDiffusion) -> list[int]:
        """Returns the steps in 1..T of the model's chain that this sampler visits, ascending."""
        if self.num_steps is None:
            return list(range(1, model.process.T + 1))
        return self.spacing.steps(model.process, self.num_steps)

    def trajectory(
        self, model: DenoisingDiffusion, x_T: Images, *, randn_like: RandnLike, start: int | None = None
    ) -> Iterator[Step]:
        """Yields every step from x_T to x_0; the last one adds no noise.

        Args:
            model: the reverse process on all T steps.
            x_T: noise, [b, *d].
            randn_like: draws ε ~ N(0, I) in the shape of its argument.
            start: the step in 1..K of the chain at which x_T stands, to begin from an x_t; None begins at K.
        """
        model = self.chain(model)
        x, x_0_hat = x_T, None
        for t in range(model.process.T if start is None else start, 0, -1):
            with torch.no_grad():  # not around `yield`, where the caller's own mode holds
                steps = torch.full((len(x),), t, device=x.device)
                x = self.correct(model, x, steps, randn_like)
                x_0_hat, reverse = self.step(model, x, steps, x_0_hat)
                x = reverse.sample(randn_like(x)) if self.traits.random and t > 1 else reverse.mean
            yield Step(t, x, x_0_hat)

    def sample(self, model: DenoisingDiffusion, x_T: Images, *, randn_like: RandnLike) -> Images:
        """Returns x_0, the end of the trajectory: [b, *d], on the scale of the data, not clipped.

        Args:
            model: the reverse process on all T steps.
            x_T: noise ~ N(0, I), [b, *d].
            randn_like: draws ε ~ N(0, I) in the shape of its argument.
        """
        return end_of(self.trajectory(model, x_T, randn_like=randn_like))
