"""Tells a broken network: at the end of training on a few images, the loss must be near zero (debug=overfit)."""

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from ddpm_lightning.configuration.build import data_of
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError, check_positive, check_whole
from ddpm_lightning.seeding import generator
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)


class OverfitCheck(L.Callback):
    """At the end of training, compares the loss on the training images with that of a network that answers 0.

    Raises UserError unless the loss is below `bound` times the other. Both are means over num_draws draws of t and ε
    for each image, without dropout, of the weights as the optimizer left them.
    """

    def __init__(self, bound: float = 0.1, num_draws: int = 64, seed: int = 0) -> None:
        check_positive("callbacks.overfit.bound", bound, "use 0.1")
        check_whole("callbacks.overfit.num_draws", num_draws, 1, "use 64")
        self.bound, self.num_draws, self.seed = bound, num_draws, seed

    @torch.no_grad()
    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        images = data_of(trainer).train_images  # type: ignore[attr-defined]
        x_0 = torch.cat([batch.x_0 for batch in data_of(trainer).in_order("train", module.device, first=images)])
        with evaluating(module.model):
            ours = self._mean_loss(module, module.model, x_0)
        share = ours / self._mean_loss(module, answering_zero(module.model), x_0)
        found = (
            f"the loss on the {images} training images is {ours:.3g}, {share:.1%} of that of a network that answers 0"
        )
        if not share < self.bound:
            raise UserError(
                f"{found}, and should be below {self.bound:.0%} after {trainer.global_step} steps: the network, the "
                "loss or the optimizer is broken, or needs more trainer.max_steps or another optimizer.lr; "
                "train/grad_norm in metrics.csv tells whether gradients arrive"
            )
        log.info("Overfitted, as it should: %s (below %s)", found, f"{self.bound:.0%}")

    def _mean_loss(self, module: DDPM, model: DenoisingDiffusion, x_0: Tensor) -> float:
        draws = generator(self.seed, "overfit", device=module.device)
        losses = [self._loss(module, model, x_0, draws) for _ in range(self.num_draws)]
        return float(torch.stack(losses).mean())

    def _loss(self, module: DDPM, model: DenoisingDiffusion, x_0: Tensor, draws: torch.Generator) -> Tensor:
        t, weight = module.timesteps.draw(len(x_0), model.process, draws)
        eps = torch.randn(x_0.shape, generator=draws, device=x_0.device)
        return (weight * module.loss(model, x_0, t, eps)).mean()


class AnswersZero(nn.Module):
    """A network whose output is 0 everywhere."""

    def __init__(self, channels_per_channel: int) -> None:
        super().__init__()
        self.channels_per_channel = channels_per_channel

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        return torch.zeros_like(x).repeat(1, self.channels_per_channel, *[1] * (x.dim() - 2))


def answering_zero(model: DenoisingDiffusion) -> DenoisingDiffusion:
    """The same model around a network that answers 0."""
    network = AnswersZero(2 if model.variance.learned else 1)
    zero = DenoisingDiffusion(network, model.process, model.parameterization, model.variance, model.levels)
    return zero.to(model.process.alpha_bar.device)
