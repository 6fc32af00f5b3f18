"""Algorithm 1 as a LightningModule."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from ddpm_lightning.diffusion.likelihood import harmonic
from ddpm_lightning.diffusion.losses import Loss
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.diffusion.timesteps import Drawn, TimestepDistribution, UniformTimesteps
from ddpm_lightning.errors import Diverged, UserError, check_at_most, check_positive, check_whole
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.seeding import BatchPlace, derive, generator, place_of
from ddpm_lightning.training.generate import estimate_batch
from ddpm_lightning.typing import Examples, Images, Indices, Timesteps

MakeOptimizer = Callable[[Iterator[nn.Parameter]], Optimizer]

LOOK_EVERY = 10
"""Steps between two looks at how many were skipped in a row, each of which waits for the device."""


class DDPM(L.LightningModule):
    """Trains p_θ.

    optimizer: parameters -> optimizer. warmup_steps: over which the learning rate rises from 0. max_grad_norm: to
    which the gradient's global norm is clipped. max_skipped: how many steps in a row may be skipped, whose loss or
    gradient is no number, before the run is ended, at most LOOK_EVERY steps later. test_strata: how finely the test
    estimates the bound (network calls an image). seed: of t, ε and dropout, which belong to (seed, step, place in the
    step's whole batch).
    Raises UserError where a value is out of bounds, or loss, variance and sampler do not go together; in training,
    Diverged after that many skipped steps.
    """

    def __init__(
        self,
        model: DenoisingDiffusion,
        loss: Loss,
        sampler: Sampler,
        optimizer: MakeOptimizer,
        *,
        timesteps: TimestepDistribution | None = None,
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
        sampler.chain(model)  # raises where there is no such chain
        _check_optimizer(optimizer, model)
        self.model = model
        self.loss = loss
        self.sampler = sampler
        self.make_optimizer = optimizer
        self.timesteps = timesteps or UniformTimesteps()
        self.warmup_steps = warmup_steps
        self.max_grad_norm = max_grad_norm
        self.max_skipped = max_skipped
        self.test_strata = test_strata
        self.seed = seed
        self.grad_norm = torch.zeros(())
        self.draws: list[Draw] = []  # of the last step
        self.unseen: list[TrainingStep] = []  # since the last look
        self.register_buffer("skipped", torch.zeros(2, dtype=torch.int64))  # in all, and in a row
        self.bound = MeanAndError()

    skipped: Tensor

    def training_step(self, batch: Examples, batch_idx: int) -> dict[str, Tensor]:
        """Algorithm 1, lines 2 to 5."""
        place = self._place(batch_idx)
        draws = generator(self.seed, "noise", place.step, device=self.device)
        x_0 = batch.x_0  # x_0 ~ q(x_0)
        t, weight = self._draw_timesteps(x_0, place, draws)  # t ~ Uniform({1, …, T})
        eps = self._draw_eps(x_0, place, draws)  # ε ~ N(0, I)
        loss = self.loss(self.model, x_0, t, eps)
        mean = numbers_or_nan((weight * loss).mean())
        self.draws = [*self.draws, Draw(batch.indices, t)][-self.trainer.accumulate_grad_batches :]
        # Lightning divides "loss" by the number of accumulated batches; the log shows "loss_of_batch".
        return {"loss": mean, "loss_of_batch": mean.detach(), "loss_per_example": loss.detach(), "t": t}

    def on_train_batch_start(self, batch: Examples, batch_idx: int) -> None:
        """Dropout draws from the global generators; they belong to (seed, step, part of the step's batch)."""
        place = self._place(batch_idx)
        torch.manual_seed(derive(self.seed, "dropout", place.step, place.part))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lightning counts batches, and a run may go on with another number of them a step."""
        made = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        counts = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (counts["total"], counts["current"]):
            shift = made - count["ready"]
            count.update({stage: number + shift for stage, number in count.items()})

    def on_test_start(self) -> None:
        self.bound = MeanAndError()

    def test_step(self, batch: Examples, batch_idx: int) -> None:
        """Estimates the bound (Eq. 5) in bits/dim, x̂_0 clipped as in the paper's evaluation."""
        proposal = harmonic(self.model.process.T)
        estimate = estimate_batch(self.model, batch, proposal, self.test_strata, seed=self.seed, purpose="bound")
        self.bound.update(estimate.bound)

    def on_test_end(self) -> None:
        self.bound.reduce(self.trainer)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, its learning rate rising linearly from 0 and constant after, as in the official code."""
        optimizer = self.make_optimizer(self.model.parameters())
        if self.warmup_steps == 0:
            return {"optimizer": optimizer}
        warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.warm_up(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": warmup, "interval": "step"}}

    def warm_up(self, step: int) -> float:
        """The part of the learning rate that is used after so many steps."""
        return min(step / self.warmup_steps, 1.0) if self.warmup_steps else 1.0

    # A step is skipped and counted on the device, so that it need not wait; every LOOK_EVERY steps the module looks.

    def on_train_start(self) -> None:
        self.unseen = []

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        """Clips the gradient, and looks now and then whether too many steps were skipped."""
        self.clip_gradient(optimizer)
        step = self.trainer.global_step + 1
        self.unseen.append(TrainingStep(step, self.skipped[1].clone(), self.draws))
        if step % LOOK_EVERY == 0 or step == self.trainer.max_steps:
            self._look()

    def clip_gradient(self, optimizer: Optimizer) -> None:
        """Clips the global norm, and keeps what it was for the log. Skips the step where it is no number."""
        self.grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        skips = self.skips
        skip_step(optimizer, skips)
        self.skipped += skips
        self.skipped[1] *= skips

    def on_train_end(self) -> None:
        self._look()

    @property
    def skips(self) -> Tensor:
        """Whether the last step is skipped, on the device: its gradient is no number."""
        return ~self.grad_norm.isfinite()

    def is_sound(self) -> bool:
        """Whether every weight is a number, and no more than max_skipped steps in a row were skipped."""
        weights = torch.stack([p.isfinite().all() for p in self.model.parameters()])
        return bool(weights.all()) and not self._too_many()

    def _look(self) -> None:
        """Raises Diverged where more than max_skipped steps in a row were skipped since the last look."""
        too_many, self.unseen = self._too_many(), []
        if too_many:
            raise Diverged(too_many[0].what_is_wrong(), step=too_many[0].number - 1)

    def _too_many(self) -> "list[TrainingStep]":
        """The steps since the last look that more than max_skipped skipped ones in a row lead to."""
        rows = torch.stack([step.row for step in self.unseen]).tolist() if self.unseen else []
        return [step for step, row in zip(self.unseen, rows, strict=True) if row > self.max_skipped]

    # The draws are made for the whole batch of a step, and each process takes its own part of it, or, where gradients
    # are accumulated, its parts one after the other: so the same images, t and ε meet however the batch is divided.

    def _place(self, batch_idx: int) -> BatchPlace:
        return place_of(batch_idx, self.trainer.accumulate_grad_batches, self.global_rank, self.trainer.world_size)

    def _draw_timesteps(self, x_0: Images, place: BatchPlace, draws: torch.Generator) -> Drawn:
        t, weight = self.timesteps.draw(len(x_0) * place.parts, self.model.process, draws)
        return Drawn(place.of(t), place.of(weight))

    def _draw_eps(self, x_0: Images, place: BatchPlace, draws: torch.Generator) -> Images:
        shape = (len(x_0) * place.parts, *x_0.shape[1:])
        return place.of(torch.randn(shape, generator=draws, device=self.device))


class Draw(NamedTuple):
    """What a batch was about: the images' places in the data set, and their t."""

    indices: Indices
    t: Timesteps


class TrainingStep(NamedTuple):
    """An optimizer step: its number, how many in a row up to it were skipped, and its batches."""

    number: int
    row: Tensor
    draws: list[Draw]

    def what_is_wrong(self) -> str:
        images, t = (torch.cat(parts).tolist() for parts in zip(*self.draws, strict=True))
        return (
            f"{int(self.row)} steps in a row had a loss or gradient that is no number, the last of them step "
            f"{self.number}, with images {images} at t = {t}; "
            "averaged weights and checkpoints are from before: look at the data, or lower optimizer.lr"
        )


def skip_step(optimizer: Optimizer, skip: Tensor) -> None:
    """Lets the optimizer's next step change neither weights nor its own state where `skip` is true.

    PyTorch's fused Adam and AdamW read `found_inf` on the device, where torch.amp.GradScaler sets it too. Any other
    optimizer gets no gradients, which waits for the device. Fused SGD reads `found_inf` as well, but a momentum whose
    first step is skipped then stays uninitialized.
    """
    if type(optimizer) in (Adam, AdamW) and all(group["fused"] for group in optimizer.param_groups):
        optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
    elif skip:
        optimizer.zero_grad(set_to_none=True)


def numbers_or_nan(loss: Tensor) -> Tensor:
    """The loss; where it is infinite, NaN, so that every gradient on every process is, too."""
    return loss * (1 + 0 * loss.detach())


def _check_optimizer(optimizer: MakeOptimizer, model: DenoisingDiffusion) -> None:
    try:
        optimizer(model.parameters())
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"optimizer: {error}") from error
