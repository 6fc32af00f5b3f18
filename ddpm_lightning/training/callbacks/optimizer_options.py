"""Gives the optimizer of a resumed run the options that this command changes."""

from collections.abc import Sequence
from typing import Any

import lightning as L

from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.same_run import Difference


class OptimizerOptions(L.Callback):
    """Puts changed options of the optimizer into the checkpoint before Lightning restores the optimizer from it, which
    would bring the earlier options back.

    changed: the keys that differ from the checkpoint that is resumed.
    """

    def __init__(self, changed: Sequence[Difference] = ()) -> None:
        self.names = [each.key.removeprefix("optimizer.") for each in changed if each.key.startswith("optimizer.")]
        self.sets_rate = "lr" in self.names or any(each.key == "module.warmup_steps" for each in changed)

    def on_load_checkpoint(self, trainer: L.Trainer, module: DDPM, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        now = module.make_optimizer(module.model.parameters()).defaults
        options = {name: now[name] for name in self.names}
        if self.sets_rate:
            options |= {"initial_lr": now["lr"], "lr": now["lr"] * module.warm_up(checkpoint["global_step"])}
            for scheduler in checkpoint["lr_schedulers"]:
                scheduler["base_lrs"] = [now["lr"]] * len(scheduler["base_lrs"])
        for optimizer in checkpoint["optimizer_states"]:
            for group in optimizer["param_groups"]:
                group |= options
