"""Detects a broken network: after training on a few images, the loss must be near zero (debug=overfit)."""

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from ddpm_lightning.configuration.build import data_of
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError, check_positive, check_whole, counted
from ddpm_lightning.seeding import generator
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)


class OverfitCheck(L.Callback):
    """Compares the loss on the training images with that of a network whose output is 0, at the end of training.

    Both are means over `num_draws` draws of t and ε per image, without dropout, of the raw weights.

    Args:
        bound: the largest accepted ratio of the two losses, above 0.
        num_draws: draws of t and ε per image, at least 1.
        seed: seed of the draws.

    Raises:
        UserError: at the end of training, if the ratio is not below `bound`.
    """

    def __init__(self, bound: float = 0.1, num_draws: int = 64, seed: int = 0) -> None:
        check_positive("callbacks.overfit.bound", bound, "use 0.1")
        check_whole("callbacks.overfit.num_draws", num_draws, 1, "use 64")
        self.bound, self.num_draws, self.seed = bound, num_draws, seed

    @torch.no_grad()
    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        images = data_of(trainer).train_images  # type: ignore[attr-defined]
        batches = list(data_of(trainer).in_order("train", module.device, first=images))
        x_0 = torch.cat([batch.x_0 for batch in batches])
        y = [batch.y for batch in batches if batch.y is not None]
        with evaluating(module.model):
            ours = self._mean_loss(module, module.model.given(torch.cat(y) if y else None), x_0)
        share = ours / self._mean_loss(module, with_zero_output(module.model), x_0)
        found = f"the loss on the {counted(images, 'training image')} is {ours:.3g}, {share:.1%} of a zero network's"
        if not share < self.bound:
            raise UserError(
                f"{found}, and should be below {self.bound:.0%} after {counted(trainer.global_step, 'step')}: the "
                "network, the loss or the optimizer is broken, or needs more trainer.max_steps or another "
                "optimizer.lr; train/grad_norm in metrics.csv shows whether there are gradients"
            )
        log.info("Overfitted, as it should: %s (below %s)", found, f"{self.bound:.0%}")

    def _mean_loss(self, module: DDPM, model: DenoisingDiffusion, x_0: Tensor) -> float:
        draws = generator(self.seed, "overfit", device=module.device)
        losses = [self._loss(module, model, x_0, draws) for _ in range(self.num_draws)]
        return float(torch.stack(losses).mean())

    def _loss(self, module: DDPM, model: DenoisingDiffusion, x_0: Tensor, draws: torch.Generator) -> Tensor:
        t, weight = module.timesteps.draw(len(x_0), model.process, draws)
        loss = module.loss.of_network
        eps = loss.draw(len(x_0), x_0.shape[1:], draws)
        return (weight * loss(model, x_0, t, eps)).mean()


class ZeroNetwork(nn.Module):
    """A network whose output is 0 everywhere."""

    def __init__(self, channels_per_channel: int) -> None:
        super().__init__()
        self.channels_per_channel = channels_per_channel

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        return torch.zeros_like(x).repeat(1, self.channels_per_channel, *[1] * (x.dim() - 2))


def with_zero_output(model: DenoisingDiffusion) -> DenoisingDiffusion:
    """Returns a copy of the model with a network whose output is 0 everywhere."""
    network = ZeroNetwork(2 if model.variance.learned else 1)
    zero = DenoisingDiffusion(network, model.process, model.parameterization, model.variance, model.levels)
    return zero.to(model.process.alpha_bar.device)
