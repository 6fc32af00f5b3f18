"""Guidance: moves samples towards their class, or away from a weaker model, by the difference of two predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from ddpm_lightning.diffusion.conditional.thresholding import Clipping
from ddpm_lightning.diffusion.model import DenoisingDiffusion, NetworkOutput
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError, check_interval
from ddpm_lightning.typing import Classes, Images, PerExample, Timesteps

MAX_SCALE = 1000.0
"""The largest scale of guidance that is accepted."""


class Guidance(ABC):
    """Changes the model that a sampler walks.

    Example:
        >>> class WithoutClasses(Guidance):
        ...     '''Samples of p(x) from a model of p(x | y).'''
        ...
        ...     suffix = "_without_classes"
        ...
        ...     def guide(self, model):
        ...         return model.given(None if not model.condition else torch.full_like(model.condition[0], NO_CLASS))

    Attributes:
        suffix: the suffix of a result's name for guided images.
    """

    suffix: str

    @abstractmethod
    def guide(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        """Returns a view of the model whose predictions are guided.

        Args:
            model: the model on all T steps, given the classes of its batch if it is conditioned on them.
        """

    def for_chain(self, T: int) -> "Guidance":
        """Returns this guidance with the defaults that follow from the T steps of the model's chain."""
        return self

    def check(self, model: DenoisingDiffusion) -> None:
        """Raises UserError if the model cannot be guided so."""


class NoGuidance(Guidance):
    """Leaves the model as it is."""

    suffix = ""

    def guide(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        return model


class TwoOutputs(NamedTuple):
    """The two outputs that guidance compares.

    Args:
        good: of the model, [b, *d].
        bad: of a weaker one, [b, *d].
    """

    good: NetworkOutput
    bad: NetworkOutput


class OutputGuidance(Guidance):
    """Guidance that changes the network's output.

    Attributes:
        other_models: the models beside the one that is guided.

    Example:
        >>> class Halved(OutputGuidance):
        ...     '''Halves what the network predicts.'''
        ...
        ...     suffix = "_halved"
        ...
        ...     def output(self, model, x_t, t):
        ...         f, v = model(x_t, t)
        ...         return NetworkOutput(f / 2, v)
    """

    other_models: Sequence[DenoisingDiffusion] = ()

    @abstractmethod
    def output(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps) -> NetworkOutput:
        """Returns the guided output.

        Args:
            model: the model, given the classes of its batch if it is conditioned on them.
            x_t: [b, *d].
            t: [b] in 1..T.
        """

    def guide(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        self.check(model)
        return _Guided(model, self)


class Extrapolation(OutputGuidance):
    """Guidance that moves a prediction away from a weaker one.

        f = f_bad + w (f_good − f_bad)

    x̂_0 is affine in f, and so are ε̂ and the score. So the same equation holds for them, whatever the network predicts.
    A learned variance is that of the good model.

    Example:
        >>> class AwayFromBlur(Extrapolation):
        ...     '''Moves away from the prediction for a blurred x_t.'''
        ...
        ...     suffix = "_sharp"
        ...
        ...     def outputs(self, model, x_t, t):
        ...         blurred = torch.nn.functional.avg_pool2d(x_t, 3, stride=1, padding=1)
        ...         return TwoOutputs(model(x_t, t), model(blurred, t))
        ...
        ...     def scale_at(self, t):
        ...         return torch.full_like(t, 1.5, dtype=torch.float64)
        ...
        ...     def is_idle(self, t):
        ...         return False
    """

    @abstractmethod
    def outputs(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps) -> TwoOutputs:
        """Returns the outputs of the model and of the weaker one.

        Args:
            model: the model, given the classes of its batch if it is conditioned on them.
            x_t: [b, *d].
            t: [b] in 1..T.
        """

    @abstractmethod
    def scale_at(self, t: Timesteps) -> PerExample:
        """Returns w at steps t of the chain that the network was trained on: [b]; 1 leaves the model as it is."""

    @abstractmethod
    def is_idle(self, t: Timesteps) -> bool:
        """Returns whether w is 1 at all of these steps, which need no second prediction."""

    def output(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps) -> NetworkOutput:
        if self.is_idle(t):
            return model(x_t, t)
        good, bad = self.outputs(model, x_t, t)
        w = self.scale_at(t).to(x_t.dtype).reshape(-1, *[1] * (x_t.ndim - 1))
        return good._replace(f=good.f + (w - 1) * (good.f - bad.f))


class _Guided(DenoisingDiffusion):
    """A model whose network output is guided."""

    def __init__(self, model: DenoisingDiffusion, guidance: OutputGuidance) -> None:
        parts = (model.network, model.process, model.parameterization, model.variance, model.levels, model.conditioning)
        super().__init__(*parts)
        self.model = model
        self.guidance = guidance
        self.others = nn.ModuleList(guidance.other_models)
        self.training, self.condition, self.steps = model.training, model.condition, model.steps
        self.clipping = model.clipping

    def forward(self, x_t: Images, t: Timesteps) -> NetworkOutput:
        return self.guidance.output(self.model, x_t, t)

    def given(self, y: Classes | None) -> DenoisingDiffusion:
        return self.guidance.guide(self.model.given(y))

    def with_variance(self, variance: Variance) -> DenoisingDiffusion:
        return self.guidance.guide(self.model.with_variance(variance))

    def with_clipping(self, clipping: Clipping) -> DenoisingDiffusion:
        return self.guidance.guide(self.model.with_clipping(clipping))


class ConstantExtrapolation(Extrapolation):
    """Guidance with one scale w at all steps.

    Attributes:
        scale: w, from 0 to 1000.

    Raises:
        UserError: the scale is out of its range.

    Example:
        >>> class AwayFromNoise(ConstantExtrapolation):
        ...     '''Moves away from the prediction for another x_t.'''
        ...
        ...     scale, suffix = 2.0, "_away_from_noise"
        ...
        ...     def outputs(self, model, x_t, t):
        ...         return TwoOutputs(model(x_t, t), model(torch.randn_like(x_t), t))
        >>> AwayFromNoise().is_idle(torch.tensor([3]))
        False
    """

    scale: float

    def __post_init__(self) -> None:
        check_scale(self.scale)

    def scale_at(self, t: Timesteps) -> PerExample:
        return torch.full_like(t, self.scale, dtype=torch.float64)

    def is_idle(self, t: Timesteps) -> bool:
        return self.scale == 1


@dataclass(frozen=True)
class AutoGuidance(ConstantExtrapolation):
    """Moves a model away from a weaker version of itself, which makes the same errors, but larger.

        ε̂ = ε_weak(x_t, t, y) + w (ε_θ(x_t, t, y) − ε_weak(x_t, t, y))

    It needs no classes. Every step calls both networks.

    Args:
        weaker: an earlier or smaller model of the same kind.
        scale: w, from 0 to 1000: 0 is the weaker model, 1 the model without guidance.

    Raises:
        UserError: the scale is out of its range.

    References:
        Karras et al. (2024), "Guiding a Diffusion Model with a Bad Version of Itself".
    """

    weaker: DenoisingDiffusion = field(repr=False)
    scale: float = 2.0

    @property
    def suffix(self) -> str:  # type: ignore[override]
        return f"_auto{self.scale:g}"

    @property
    def other_models(self) -> Sequence[DenoisingDiffusion]:  # type: ignore[override]
        return (self.weaker,)

    def check(self, model: DenoisingDiffusion) -> None:
        ours, theirs = model.parameterization, self.weaker.parameterization
        same_chain = _is_same_chain(model.trained_process, self.weaker.process)
        same_classes = list(model.conditioning.class_names) == list(self.weaker.conditioning.class_names)
        if ours != theirs or not same_chain or not same_classes:
            raise UserError(
                "checkpoint= is of a model with another schedule, parameterization or classes, so its "
                "predictions do not compare; choose an earlier or smaller checkpoint of the same kind"
            )

    def guide(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        self.weaker.to(model.process.alpha_bar.device)
        return super().guide(model)

    def outputs(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps) -> TwoOutputs:
        weaker = self.weaker.given(*model.condition_of(x_t)) if model.condition else self.weaker
        return TwoOutputs(model(x_t, t), weaker(x_t, t))


@lru_cache(maxsize=1)
def _is_same_chain(process: GaussianDiffusion, other: GaussianDiffusion) -> bool:
    """Returns whether two chains have the same noise levels. Cached, because every batch is checked."""
    return torch.equal(process.alpha_bar.cpu(), other.alpha_bar.cpu())


def check_scale(scale: float, name: str = "scale") -> None:
    """Raises UserError unless a scale is in 0..1000. `name` is its option."""
    check_interval(name, scale, 0, MAX_SCALE, "1 is without guidance; use 2")
