"""The average of the weights, such as an exponential moving one (EMA): its update, its use, its place in checkpoints.

Lightning's own `WeightAveraging` is not used: it scores raw weights in `fit` followed by `test`, loses the average with
`save_weights_only=True`, and averages integer buffers.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ddpm_lightning.errors import UserError, check_boolean
from ddpm_lightning.training.callbacks.trainer_state import callbacks_of, completes_step
from ddpm_lightning.training.checkpoint import EMA as KEY
from ddpm_lightning.training.checkpoint import check_average, copy_weights
from ddpm_lightning.training.module import DDPM

log = logging.getLogger(__name__)

WARN_ABOVE = 0.01
"""Share of the first weights in the final average above which a run warns."""


class WeightAverage(L.Callback):
    """Keeps an average θ̄ of the model's weights θ over training.

    After each optimizer step n, in float32:

        θ̄ ← β_n θ̄ + (1 − β_n) θ  with β_n from `decay_of`

    θ̄ starts as a copy of θ after the first step, or of the weights that init_from loads. A skipped step leaves θ̄
    unchanged. Only parameters are averaged, not buffers.

    Use: testing, validation and everything inside `average_parameters` run on θ̄; training never does.

    Checkpoints: "state_dict" holds θ and "ema" holds θ̄, even if the checkpoint is saved while the model runs on θ̄.
    """

    def __init__(self) -> None:
        self.updates = 0
        self.weights: dict[str, Tensor] = {}  # θ, the model's own tensors
        self.shadow: dict[str, Tensor] = {}  # θ̄
        self.raw: dict[str, Tensor] | None = None  # a copy of θ while the model runs on θ̄
        self.swapped = ExitStack()

    @abstractmethod
    def decay_of(self, n: int) -> float:
        """Returns β_n, the decay of the n-th update: n = 1 is the first one after θ̄ started as a copy of θ."""

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = state_dict["updates"]

    def start(self, module: L.LightningModule) -> None:
        """Starts the average as a copy of the model's current weights."""
        self.shadow = {name: weight.detach().float().clone() for name, weight in _weights(module).items()}

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not completes_step(trainer, batch_idx):
            return
        self.weights = self.weights or _weights(module)  # once: collecting them takes longer than the update
        if self.shadow:
            self._update(module.skips_step)
        elif not module.skips_step:
            self.start(module)

    def _update(self, skips: Tensor) -> None:
        self.updates += 1
        self._move(self.shadow, self.decay_of(self.updates), skips)

    @torch.no_grad()
    def _move(self, shadow: dict[str, Tensor], decay: float, skips: Tensor) -> None:
        """Moves θ̄ towards θ, or keeps θ̄ if the step is skipped. The device decides, so that the loop need not wait."""
        average = [shadow[name] for name in self.weights]
        now = [torch.where(skips, old, new.float()) for old, new in zip(average, self.weights.values(), strict=True)]
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(average, now, torch.tensor(0))

    @contextmanager
    def average_parameters(self, module: L.LightningModule) -> Iterator[None]:
        """Swaps θ̄ into the model and, on exit or exception, θ back. Does nothing before the first optimizer step."""
        if not self.shadow or self.raw is not None:
            yield
            return
        weights = _weights(module)
        self.raw = {name: weight.detach().clone() for name, weight in weights.items()}
        copy_weights(weights, self.shadow)
        try:
            yield
        finally:
            copy_weights(weights, self.raw)
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
        self.updates = checkpoint["global_step"] - 1  # for old checkpoints, which lack it; else load_state_dict follows
        self.shadow = dict(checkpoint.get(KEY, {}))
        if self.shadow:
            check_average(self.shadow, _weights(module))

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.weights = {}  # they may be of an earlier module
        self.shadow = {name: weight.to(module.device) for name, weight in self.shadow.items()}


class EMA(WeightAverage):
    """Keeps an exponential moving average θ̄ of the model's weights θ, as in Appendix B of Ho et al. (2020).

        θ̄ ← decay · θ̄ + (1 − decay) · θ

    Args:
        decay: in [0, 1). The share of the first weights in the average after n steps is decay^n.
        warmup: whether the n-th update has the decay min(decay, (1 + n) / (10 + n)), as in TensorFlow's `num_updates`
            and diffusers' EMAModel. In a short run, the first weights then leave the average sooner. The paper's decay
            is constant.

    Raises:
        UserError: if decay lies outside [0, 1) or warmup is not a boolean.

    Example:
        >>> [round(EMA(decay=0.9999, warmup=True).decay_of(n), 4) for n in (1, 10, 100)]
        [0.1818, 0.55, 0.9182]
    """

    def __init__(self, decay: float = 0.9999, warmup: bool = False) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(
                f"decay={decay} lies outside [0, 1): at 1 the average would never move; the paper uses 0.9999"
            )
        check_boolean("callbacks.ema.warmup", warmup, "false is the paper's constant decay")
        self.decay = decay
        self.warmup = warmup

    def decay_of(self, n: int) -> float:
        return min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        share = 0.0 if self.warmup else self.decay**trainer.max_steps
        if share > WARN_ABOVE and trainer.is_global_zero:
            log.warning(
                "At the end %.0f %% of the average will still be the first weights (callbacks.ema.decay=%g to the "
                "power of trainer.max_steps=%d); lower the decay, train longer, or use callbacks.ema.warmup=true",
                *(100 * share, self.decay, trainer.max_steps),
            )


def _weights(module: L.LightningModule) -> dict[str, Tensor]:
    assert isinstance(module.model, nn.Module)
    return dict(module.model.named_parameters())


def ema_distance(trainer: L.Trainer) -> float | None:
    """Returns ‖θ̄ − θ‖ / ‖θ‖, or None without averaged weights or before the first optimizer step of this process."""
    keeper = _keeper(trainer)
    if keeper is None or not keeper.shadow or not keeper.weights:
        return None
    weights = [weight.detach().float() for weight in keeper.weights.values()]
    behind = torch._foreach_sub(list(keeper.shadow.values()), weights)
    return float(nn.utils.get_total_norm(behind) / nn.utils.get_total_norm(weights))


def averaged(trainer: L.Trainer, module: L.LightningModule) -> AbstractContextManager[None]:
    """Returns a context in which the model runs on averaged weights, or on its own if no EMA callback keeps any."""
    keeper = _keeper(trainer)
    return keeper.average_parameters(module) if keeper else nullcontext()


def keeps_average(trainer: L.Trainer) -> bool:
    """Returns whether an EMA callback keeps averaged weights, so that testing runs on them."""
    keeper = _keeper(trainer)
    return keeper is not None and len(keeper.shadow) > 0


def _keeper(trainer: L.Trainer) -> WeightAverage | None:
    return next(iter(callbacks_of(trainer, WeightAverage)), None)  # type: ignore[type-abstract]
