"""Builds autoguidance from the checkpoint of the weaker model."""

from pathlib import Path

from ddpm_lightning.diffusion.conditional.guidance import AutoGuidance, check_scale
from ddpm_lightning.errors import check_boolean
from ddpm_lightning.training.checkpoint import load_model


def make_autoguidance(*, scale: float, checkpoint: str, use_ema: bool = True) -> AutoGuidance:
    """Returns the guidance away from the model of a checkpoint.

    Args:
        scale: w, from 0 to 1000; see `AutoGuidance`.
        checkpoint: the path of the weaker model's checkpoint.
        use_ema: whether its averaged weights are taken; otherwise its raw ones.

    Raises:
        UserError: the checkpoint cannot be used, or an argument is out of its range.
    """
    check_scale(scale)
    check_boolean("guidance.use_ema", use_ema, "leave it out for the averaged weights")
    return AutoGuidance(load_model(Path(checkpoint), use_ema)[2], scale)
