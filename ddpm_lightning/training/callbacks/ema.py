"""The exponential moving average of the weights, from its birth to the checkpoint and back."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ddpm_lightning.errors import UserError, check_boolean
from ddpm_lightning.training.callbacks.optimizer_steps import stepped
from ddpm_lightning.training.checkpoint import EMA as KEY
from ddpm_lightning.training.checkpoint import check_average
from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)

FIRST_SHARE = 0.01
"""A larger share of the first weights in the final average is told."""


class EMA(L.Callback):
    """θ̄ ← decay·θ̄ + (1 − decay)·θ after each optimizer step, in float32. The first step copies; a skipped step
    leaves θ̄ as it is.

    warmup: the n-th step after the first has the decay min(decay, (1 + n) / (10 + n)), as TensorFlow's `num_updates`
    and diffusers' EMAModel have it; so the first weights leave the average of a short run soon. The paper's decay is
    constant.

    Testing and validation run on θ̄; so does whatever runs inside `average_parameters`. A checkpoint holds θ as its
    weights and θ̄ under a key of its own, also when it is written while θ̄ is in use.
    """

    def __init__(self, decay: float = 0.9999, warmup: bool = False) -> None:
        if not 0 <= decay < 1:
            raise UserError(
                f"the EMA's decay={decay} lies outside [0, 1): at 1 the average would never move; the paper uses 0.9999"
            )
        check_boolean("callbacks.ema.warmup", warmup, "false is the paper's constant decay")
        self.decay = decay
        self.warmup = warmup
        self.updates = 0
        self.weights: dict[str, Tensor] = {}  # θ itself
        self.shadow: dict[str, Tensor] = {}  # θ̄
        self.raw: dict[str, Tensor] | None = None
        self.swapped = ExitStack()

    def decay_of(self, n: int) -> float:
        """The decay of the n-th step after the one that copied, from 1."""
        return min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        share = 0.0 if self.warmup else self.decay**trainer.max_steps
        if share > FIRST_SHARE and trainer.is_global_zero:
            log.warning(
                "At the end %.0f %% of the average will still be the first weights (callbacks.ema.decay=%g to the "
                "power of trainer.max_steps=%d); lower the decay, train longer, or use callbacks.ema.warmup=true",
                *(100 * share, self.decay, trainer.max_steps),
            )

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = state_dict["updates"]

    def start(self, module: L.LightningModule) -> None:
        """Lets the average of a new run start from the weights that the model now has."""
        self.shadow = {name: weight.detach().float().clone() for name, weight in _weights(module).items()}

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not stepped(trainer, batch_idx):
            return
        self.weights = self.weights or _weights(module)  # once: the walk through a model takes longer than its update
        if self.shadow:
            self._update(module.skips)
        elif not module.skips:
            self.start(module)

    @torch.no_grad()
    def _update(self, skips: Tensor) -> None:
        """Moves θ̄ towards θ; where the step is skipped, towards itself, so that nothing waits for the device."""
        self.updates += 1
        average = [self.shadow[name] for name in self.weights]
        now = [torch.where(skips, old, new.float()) for old, new in zip(average, self.weights.values(), strict=True)]
        update = get_ema_multi_avg_fn(self.decay_of(self.updates))  # type: ignore[no-untyped-call]
        update(average, now, torch.tensor(0))

    @contextmanager
    def average_parameters(self, module: L.LightningModule) -> Iterator[None]:
        """Inside, the model's weights are θ̄; after, θ again, whatever happened. Before the first step, θ̄ is θ."""
        if not self.shadow or self.raw is not None:
            yield
            return
        weights = _weights(module)
        self.raw = {name: weight.detach().clone() for name, weight in weights.items()}
        _fill(weights, self.shadow)
        try:
            yield
        finally:
            _fill(weights, self.raw)
            self.raw = None

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.swapped.enter_context(self.average_parameters(module))

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.swapped.close()

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.swapped.enter_context(self.average_parameters(module))

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.swapped.close()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        self.swapped.close()

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.shadow:
            checkpoint[KEY] = self.shadow
        for name, weight in (self.raw or {}).items():
            checkpoint["state_dict"][f"model.{name}"] = weight

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.updates = checkpoint["global_step"] - 1  # where the checkpoint is too old to have counted them
        self.shadow = dict(checkpoint.get(KEY, {}))
        if self.shadow:
            check_average(self.shadow, _weights(module))

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.weights = {}  # those of another module, perhaps
        self.shadow = {name: weight.to(module.device) for name, weight in self.shadow.items()}


def _weights(module: L.LightningModule) -> dict[str, Tensor]:
    assert isinstance(module.model, nn.Module)
    return dict(module.model.named_parameters())


def _fill(weights: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(values[name])


def distance(trainer: L.Trainer) -> float | None:
    """‖θ̄ − θ‖ / ‖θ‖: how far the trainer's averaged weights are behind; None where it keeps none, or has not yet seen
    any since the run goes on."""
    keeper = _keeper(trainer)
    if keeper is None or not keeper.shadow or not keeper.weights:
        return None
    weights = [weight.detach().float() for weight in keeper.weights.values()]
    behind = torch._foreach_sub(list(keeper.shadow.values()), weights)
    return float(nn.utils.get_total_norm(behind) / nn.utils.get_total_norm(weights))


def averaged(trainer: L.Trainer, module: L.LightningModule) -> AbstractContextManager[None]:
    """The context in which the model's weights are the trainer's averaged ones, if an EMA callback keeps any."""
    keeper = _keeper(trainer)
    return keeper.average_parameters(module) if keeper else nullcontext()


def keeps_average(trainer: L.Trainer) -> bool:
    """Whether testing runs on averaged weights."""
    keeper = _keeper(trainer)
    return keeper is not None and len(keeper.shadow) > 0


def _keeper(trainer: L.Trainer) -> EMA | None:
    return next((c for c in trainer.callbacks if isinstance(c, EMA)), None)  # type: ignore[attr-defined]
