"""Classifier-free guidance: moves p(x | y) away from p(x), at all steps or in an interval of them."""

from dataclasses import dataclass, replace

import torch

from ddpm_lightning.diffusion.conditional.conditioning import NO_CLASS
from ddpm_lightning.diffusion.conditional.guidance import ConstantExtrapolation, TwoOutputs
from ddpm_lightning.diffusion.model import DenoisingDiffusion, NetworkOutput
from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.typing import Classes, Images, PerExample, Timesteps


@dataclass(frozen=True)
class ClassifierFreeGuidance(ConstantExtrapolation):
    """Moves p(x | y) away from p(x): its samples show their class more clearly, and vary less.

        ε̂ = ε_θ(x_t, t) + w (ε_θ(x_t, t, y) − ε_θ(x_t, t)),  the score of p(x_t | y)^w p(x_t)^{1−w}

    Both predictions come from one network call on twice the batch.

    Args:
        scale: w, from 0 to 1000: 0 is p(x), 1 is p(x | y) without guidance, and more is guided. It is 1 plus the w of
            the reference.

    Raises:
        UserError: the scale is out of its range.

    References:
        Ho & Salimans (2022), "Classifier-Free Diffusion Guidance", Eq. 6.
    """

    scale: float = 2.0

    @property
    def suffix(self) -> str:  # type: ignore[override]
        return f"_cfg{self.scale:g}"

    def check(self, model: DenoisingDiffusion) -> None:
        model.conditioning.check_both("guidance=cfg")

    def outputs(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps) -> TwoOutputs:
        y = _classes_of(model, x_t)
        both = model.given(torch.cat([y, torch.full_like(y, NO_CLASS)]))
        f, v = both(torch.cat([x_t, x_t]), torch.cat([t, t]))
        (f_given, f_free), (v_given, v_free) = f.chunk(2), (None, None) if v is None else v.chunk(2)
        return TwoOutputs(NetworkOutput(f_given, v_given), NetworkOutput(f_free, v_free))


DEFAULT_SHARES = (0.05, 0.35)
"""The default first and last guided step of an interval, as shares of T."""


@dataclass(frozen=True)
class IntervalGuidance(ClassifierFreeGuidance):
    """Classifier-free guidance at the steps t_low..t_high alone: w = 1 elsewhere, where it costs no second prediction.

    At high noise guidance narrows the variety of the samples, and at low noise it has no effect but its cost.

    Args:
        scale: w, from 0 to 1000.
        t_low: the first guided step, in 1..T of the chain that the network was trained on. None means T/20, or t_high
            if that is smaller.
        t_high: the last guided step. None means 7 T/20, or t_low if that is larger.

    Raises:
        UserError: an argument is out of its range.

    References:
        Kynkäänniemi et al. (2024), "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in
        Diffusion Models".
    """

    t_low: int | None = None
    t_high: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        low = 1 if self.t_low is None else self.t_low
        check_whole("t_low", low, 1, "it is the first guided step; use 1")
        if self.t_high is not None:
            check_whole("t_high", self.t_high, low, "it is the last guided step, and not before t_low")

    @property
    def suffix(self) -> str:  # type: ignore[override]
        return f"{super().suffix}_t{self.t_low}-{self.t_high}"

    def for_chain(self, T: int) -> "IntervalGuidance":
        low, high = (max(round(share * T), 1) for share in DEFAULT_SHARES)
        t_low = min(low, self.t_high or low) if self.t_low is None else self.t_low
        return replace(self, t_low=t_low, t_high=self.t_high or max(high, t_low))

    def check(self, model: DenoisingDiffusion) -> None:
        model.conditioning.check_both("guidance=interval")
        T = model.trained_process.T
        if self.t_low is not None and self.t_low > T:
            raise UserError(f"t_low={self.t_low} exceeds T={T}, so no step is guided; choose a smaller one")

    def guide(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        return super(IntervalGuidance, self.for_chain(model.trained_process.T)).guide(model)

    def scale_at(self, t: Timesteps) -> PerExample:
        return torch.where(self._is_inside(t), super().scale_at(t), 1.0)

    def is_idle(self, t: Timesteps) -> bool:
        return super().is_idle(t) or not bool(self._is_inside(t).any())

    def _is_inside(self, t: Timesteps) -> torch.Tensor:
        if self.t_low is None or self.t_high is None:
            raise UserError("the guided steps follow from T; guide a model, or call for_chain(T)")
        return (t >= self.t_low) & (t <= self.t_high)


def _classes_of(model: DenoisingDiffusion, x_t: Images) -> Classes:
    if not model.condition:
        raise UserError("guidance needs the class of each image, and none is given; add labels=")
    return model.condition_of(x_t)[0]
