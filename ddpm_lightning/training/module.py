"""Algorithm 1 as a LightningModule."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ddpm_lightning.diffusion.likelihood import harmonic
from ddpm_lightning.diffusion.losses import Loss
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.diffusion.timesteps import TimestepDistribution, UniformTimesteps
from ddpm_lightning.errors import UserError, check_at_most, check_positive, check_whole
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.seeding import BatchPlace, derive, generator, place_of
from ddpm_lightning.training.generate import estimate_batch
from ddpm_lightning.training.lr_schedules import ConstantLR, LRSchedule
from ddpm_lightning.training.skipped_steps import (
    CHECK_EVERY,
    SeenBatch,
    SeenStep,
    SkippedSteps,
    infinite_to_nan,
    skip_step,
)
from ddpm_lightning.typing import AnyExamples, Classes, Images, Noise, PerExample, Timesteps

MakeOptimizer = Callable[[Iterator[nn.Parameter]], Optimizer]


class DDPM(L.LightningModule):
    """Trains a diffusion model by Algorithm 1 of Ho et al. (2020), and tests it by the variational bound (Eq. 5).

    Each step draws t and ε for a batch x_0 and minimizes the loss. With the loss `Simple` and the parameterization
    `Epsilon` that is Eq. 14:

        L_simple(θ) = E[‖ε − ε_θ(√ᾱ_t x_0 + √(1 − ᾱ_t) ε, t)‖²]

    Randomness: t, ε and hidden classes are a function of (seed, optimizer step, position in the step's whole batch),
    and dropout of (seed, optimizer step, part of that batch). No generator keeps a state. So on the same machine, with
    the same libraries and number of threads, a resumed run is bit-identical to an uninterrupted one. Any number of
    processes or accumulated batches draws the same t and ε.

    Skipped steps: a step whose gradient norm is NaN or infinite changes neither the weights nor the optimizer's state.
    The buffer `skipped` counts such steps: in all, and in a row.

    Args:
        model: p_θ, which is trained in place.
        loss: the training objective.
        sampler: draws images from the trained model; pictures during training use it.
        optimizer: a function of the parameters that returns their optimizer, such as `partial(Adam, lr=2e-4)`.
        timesteps: the distribution of t; uniform if None.
        lr_schedule: how the learning rate falls after the warm-up; not at all if None.
        warmup_steps: optimizer steps over which the learning rate rises linearly from 0; at least 0.
        max_grad_norm: the gradient's global norm is clipped to this; above 0.
        max_skipped: steps in a row that may be skipped before training ends, at most `CHECK_EVERY` steps later.
        test_strata: network calls per image with which the test estimates the bound; 2 to 10,000.
        seed: a whole number of at least 0.

    Raises:
        UserError: if an argument is out of bounds, or loss, variance and sampler do not go together.
        Diverged: in training, if more than max_skipped steps in a row were skipped.

    Example:
        >>> from functools import partial
        >>> from ddpm_lightning import MLP, AncestralSampler, BetaVariance, Epsilon, GaussianDiffusion
        >>> from ddpm_lightning import LinearSchedule, Simple
        >>> process = GaussianDiffusion(LinearSchedule())
        >>> model = DenoisingDiffusion(MLP(1, 1, size=(1, 2)), process, Epsilon(), BetaVariance())
        >>> module = DDPM(model, Simple(), AncestralSampler(), partial(torch.optim.Adam, lr=1e-3), warmup_steps=100)
        >>> module.warm_up(50)
        0.5

    References:
        Ho, Jain & Abbeel, Denoising Diffusion Probabilistic Models, NeurIPS 2020. https://arxiv.org/abs/2006.11239
    """

    skipped: Tensor

    def __init__(
        self,
        model: DenoisingDiffusion,
        loss: Loss,
        sampler: Sampler,
        optimizer: MakeOptimizer,
        *,
        timesteps: TimestepDistribution | None = None,
        lr_schedule: LRSchedule | None = None,
        warmup_steps: int = 0,
        max_grad_norm: float = 1.0,
        max_skipped: int = 10,
        test_strata: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_whole("module.warmup_steps", warmup_steps, 0, "0 is for none, the paper's recipe has 5000")
        check_positive("module.max_grad_norm", max_grad_norm, "nothing would be learned; the paper uses 1.0")
        check_whole("module.max_skipped", max_skipped, 0, "0 ends the run at the first, 10 is the default")
        check_whole("module.test_strata", test_strata, 2, "the bound needs some draws of t; use 50")
        check_at_most("module.test_strata", test_strata, 10_000, "each is a network call an image; use 50")
        check_whole("seed", seed, 0, "it numbers the run's randomness; use 0")
        loss.check(model.variance)
        sampler.chain(model)  # raises UserError if the sampler needs steps that the model lacks
        _check_optimizer(optimizer, model)
        self.model = model
        self.loss = loss
        self.sampler = sampler
        self.make_optimizer = optimizer
        self.timesteps = timesteps or UniformTimesteps()
        self.lr_schedule = lr_schedule or ConstantLR()
        self.lr_schedule.check(warmup_steps)
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self.test_strata = test_strata
        self.seed = seed
        self.grad_norm = torch.zeros(())
        self.batches: list[SeenBatch] = []  # of the current optimizer step
        self.skipped_steps = SkippedSteps(max_skipped)
        self.register_buffer("skipped", torch.zeros(2, dtype=torch.int64))  # in all, and in a row
        self.bound = MeanAndError()

    def training_step(self, batch: AnyExamples, batch_idx: int) -> dict[str, Tensor]:
        """Returns the loss of one batch (Algorithm 1, lines 2 to 5). Lightning takes the gradient step.

        Args:
            batch: images x_0 on the model's scale, [b, c, h, w], their indices in the data set and their classes, [b].
            batch_idx: number of batches that this process has trained on before.

        Returns:
            "loss", the mean that is minimized; "loss_of_batch", the same for the log, because Lightning divides "loss"
            by the number of accumulated batches; "loss_per_example", unweighted, [b]; and "t", [b].
        """
        x_0 = batch.x_0  # x_0 ~ q(x_0)
        t, weight, eps = self._draw(x_0, batch_idx)  # t ~ Uniform({1, …, T}), ε ~ N(0, I)
        model = self.model.given(self._shown_classes(batch, batch_idx))
        objective = self.loss.at_step(self._place(batch_idx).step)
        loss = objective(model, x_0, t, eps)  # ‖ε − ε_θ(√ᾱ_t x_0 + √(1 − ᾱ_t) ε, t)‖²
        mean = infinite_to_nan((weight * loss).mean())
        self.batches = [*self.batches, SeenBatch(batch.indices, t)][-self.trainer.accumulate_grad_batches :]
        return {"loss": mean, "loss_of_batch": mean.detach(), "loss_per_example": loss.detach(), "t": t}

    def _draw(self, x_0: Images, batch_idx: int) -> "Draws":
        """Draws t and ε for the whole batch of the optimizer step, and returns the part that belongs to x_0."""
        place = self._place(batch_idx)
        count = len(x_0) * place.parts
        draws = generator(self.seed, "noise", place.step, device=self.device)
        t, weight = self.timesteps.draw(count, self.model.process, draws)
        eps = self.loss.draw(count, x_0.shape[1:], draws)
        return Draws(place.of(t), place.of(weight), place.of(eps))

    def _shown_classes(self, batch: AnyExamples, batch_idx: int) -> Classes | None:
        """Returns the classes that the model sees, some of them hidden at random; None if it is not conditioned."""

        def rand() -> PerExample:
            place = self._place(batch_idx)
            draws = generator(self.seed, "hidden classes", place.step, device=self.device)
            return place.of(torch.rand(len(batch.x_0) * place.parts, generator=draws, device=self.device))

        return self.model.conditioning.in_training(batch.y, rand)

    def on_train_batch_start(self, batch: AnyExamples, batch_idx: int) -> None:
        """Seeds the global generator, from which dropout draws, by (seed, optimizer step, part of its batch)."""
        place = self._place(batch_idx)
        torch.manual_seed(derive(self.seed, "dropout", place.step, place.part))

    def _place(self, batch_idx: int) -> BatchPlace:
        return place_of(batch_idx, self.trainer.accumulate_grad_batches, self.global_rank, self.trainer.world_size)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Returns the optimizer, and the schedule of its learning rate: the warm-up times the decay after it."""
        optimizer = self.new_optimizer()
        rate = LambdaLR(optimizer, lambda step: self.rate(step))  # PyTorch would save a bound method's object
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def new_optimizer(self) -> Optimizer:
        """Returns a new optimizer of the model's parameters, and of those of the loss if it has any."""
        return self.make_optimizer(self.parameters())

    def warm_up(self, step: int) -> float:
        """Returns the factor of the warm-up alone after `step` optimizer steps, min(step / warmup_steps, 1)."""
        return min(step / self.warmup_steps, 1.0) if self.warmup_steps else 1.0

    def rate(self, step: int) -> float:
        """Returns the factor of the learning rate after `step` optimizer steps: that of warm-up and decay together."""
        return self.warm_up(step) * self.lr_schedule.decay(step, self.warmup_steps)

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        """Clips the gradient. Raises Diverged every CHECK_EVERY steps, if too many were skipped."""
        self.clip_gradient(optimizer)
        step = self.trainer.global_step + 1
        self.skipped_steps.record(SeenStep(step, self.skipped[1].clone(), self.batches))
        if step % CHECK_EVERY == 0 or step == self.trainer.max_steps:
            self.skipped_steps.check()

    def clip_gradient(self, optimizer: Optimizer) -> None:
        """Clips the gradient's global norm to max_grad_norm. Skips the step if that norm is NaN or infinite."""
        self.grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        skips = self.skips_step
        skip_step(optimizer, skips)
        self.skipped += skips
        self.skipped[1] *= skips

    @property
    def skips_step(self) -> Tensor:
        """True if the last optimizer step was skipped: a boolean scalar on the device."""
        return ~self.grad_norm.isfinite()

    def is_sound(self) -> bool:
        """Returns whether every weight is finite and no more than max_skipped steps in a row were skipped."""
        finite = torch.stack([weight.isfinite().all() for weight in self.parameters()])
        return bool(finite.all()) and not self.skipped_steps.are_too_many()

    def on_train_start(self) -> None:
        self.skipped_steps.clear()

    def on_train_end(self) -> None:
        self.skipped_steps.check()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rescales Lightning's count of batches: the resumed run may accumulate another number of batches per step."""
        made = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        counts = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (counts["total"], counts["current"]):
            shift = made - count["ready"]
            count.update({stage: number + shift for stage, number in count.items()})

    def on_test_start(self) -> None:
        self.bound = MeanAndError()

    def test_step(self, batch: AnyExamples, batch_idx: int) -> None:
        """Adds the bound (Eq. 5) of each image in bits/dim, estimated with x̂_0 clipped to [−1, 1] as in the paper."""
        proposal = harmonic(self.model.process.T)
        estimate = estimate_batch(self.model, batch, proposal, self.test_strata, seed=self.seed, purpose="bound")
        self.bound.update(estimate.bound)

    def on_test_end(self) -> None:
        self.bound.reduce(self.trainer)


class Draws(NamedTuple):
    """The draws of a training step: t in 1..T, [b]; its importance weight, [b]; and the noise that the loss needs."""

    t: Timesteps
    weight: PerExample
    eps: Noise


def _check_optimizer(optimizer: MakeOptimizer, model: DenoisingDiffusion) -> None:
    try:
        optimizer(model.parameters())
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"optimizer: {error}") from error
