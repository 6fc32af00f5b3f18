"""From x_T ~ N(0, I) to x_0: Algorithm 2 of the paper, and DDIM."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.process import at
from ddpm_lightning.diffusion.spacing import Spacing, UniformSpacing
from ddpm_lightning.errors import UserError
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


@dataclass(frozen=True, kw_only=True)
class AncestralSampler(Sampler):
    """Algorithm 2: x_{t−1} ~ p_θ(x_{t−1} | x_t). On a subset of the steps, β is recomputed from ᾱ."""

    name = "ancestral"

    @property
    def follows_variance(self) -> bool:
        return True

    def chain(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        if self.num_steps is not None and not model.variance.rescales:
            raise UserError(
                f"sampler.num_steps={self.num_steps} asks for longer steps than those whose variance the network "
                f"learned (variance={model.variance.name}); leave num_steps out, or use sampler=ddim"
            )
        return super().chain(model)

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        return model.denoise(x_t, t, self.clip_x_0)


@dataclass(frozen=True, kw_only=True)
class DDIMSampler(Sampler):
    """x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z, σ² = η² β̃, s the step before t (Song et al., 2021, Eq. 12 and 16).

    eta: η, 0 for a deterministic walk; 1 is ancestral sampling with σ² = β̃. ε̂ follows from the clipped x̂_0.
    """

    eta: float = 0.0

    name = "ddim"

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise UserError(f"eta={self.eta} lies outside [0, 1]: 0 is deterministic, 1 is ancestral; choose between")

    @property
    def random(self) -> bool:
        return self.eta > 0

    def label(self, model: DenoisingDiffusion) -> str:
        return super().label(model) + (f"_eta{self.eta:g}" if self.eta else "")

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        x_0_hat = model.predict_x_0(x_t, t, self.clip_x_0)
        alpha_bar = model.process.alpha_bar
        alpha_bar_s = alpha_bar.roll(1)  # ᾱ of the step before; like all tables in float64, for 1 − ᾱ can be 1e-4
        sigma_squared = self.eta**2 * model.process.beta_tilde
        eps_hat = model.process.eps(x_0_hat, x_t, t)
        towards_x_t = (1 - alpha_bar_s - sigma_squared).clamp(min=0).sqrt()
        mean = at(alpha_bar_s.sqrt(), t, x_t) * x_0_hat + at(towards_x_t, t, x_t) * eps_hat
        return Denoised(x_0_hat, Gaussian(mean, at(sigma_squared.log(), t, x_t)))
