"""Reads the official weights. They have no configuration: the network follows from their names and shapes."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.carry import Weights
from ddpm_lightning.studies.interchange.pretrained import Node, node

AVERAGE = "/ExponentialMovingAverage"
"""The suffix of an averaged weight's name in TensorFlow."""

NOT_WEIGHTS = re.compile(r"(/Adam(_\d+)?|^beta[12]_power|^global_step)$")
"""Matches the variables of an official checkpoint that are not weights."""

IN_LEVEL = re.compile(r"down[._](\d+)[./](block|attn)[._](\d+)[./]")
"""Matches the names of weights in the downward half of the U-Net: level, block or attn, index."""


def fixed_parts() -> dict[str, Node]:
    """Returns the nodes that all official models share: linear schedule and ε-prediction."""
    schedule = node(LinearSchedule, T=1000, beta_1=1e-4, beta_T=0.02)
    return {"schedule": schedule, "parameterization": node(Epsilon)}


def network_of(weights: Weights, size: tuple[int, int], source: str) -> Node:
    """Returns the node of the U-Net that has these weights.

    Args:
        weights: The weights, by the names of the official code or of pesser/pytorch_diffusion.
        size: Height and width of the images.
        source: The file of the weights, for messages.

    Raises:
        UserError: The names are not those of the official U-Net.
    """
    check_kind(weights, source)
    blocks = [(int(m[1]), int(m[3])) for m in map(IN_LEVEL.search, weights) if m and m[2] == "block"]
    attended = {int(m[1]) for m in map(IN_LEVEL.search, weights) if m and m[2] == "attn"}
    if not blocks:
        raise UserError(f"{source} has no down.0.block.0 or down_0/block_0: these are no weights of the official U-Net")
    channels = _width(weights, r"^(model/)?conv_in[./]", source)
    levels = range(1 + max(level for level, _ in blocks))
    widths = [_width(weights, rf"down[._]{level}[./]block[._]0[./]conv1[./]", source) for level in levels]
    return node(
        UNet,
        channels=channels,
        multipliers=[width // channels for width in widths],
        num_res_blocks=1 + max(index for _, index in blocks),
        attention=[max(size) // 2**level for level in sorted(attended)],
    )


def _width(weights: Weights, layer: str, source: str) -> int:
    """Returns the output channels of a layer, from the length of its bias."""
    found = next((w for name, w in weights.items() if re.search(layer + r"(bias|b)$", name)), None)
    if found is None or found.ndim != 1 or not len(found):
        raise UserError(f"{source} has no bias like {layer}: these are no weights of the official U-Net")
    return len(found)


def check_kind(weights: Weights, source: str) -> None:
    """Raises UserError if the weights are of improved-diffusion, whose U-Net is never the paper's."""
    if any(name.startswith("input_blocks.") for name in weights):
        raise UserError(
            f"{source} is of improved-diffusion or a successor. Its U-Net pads on all sides where it downsamples, has "
            "another time embedding and GroupNorm with ε = 1e-5, so here the weights would be another function"
        )


def split_variables(variables: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Splits the variables of an official checkpoint into raw weights, averaged weights and the step."""
    step = variables.get("global_step", torch.tensor(0))
    if step.numel() != 1 or step.is_floating_point():
        raise UserError(f"{source} has a global_step that is not a whole number; take another file")
    raw = {n: v for n, v in variables.items() if not n.endswith(AVERAGE) and not NOT_WEIGHTS.search(n)}
    averaged = {name.removesuffix(AVERAGE): v for name, v in variables.items() if name.endswith(AVERAGE)}
    return raw, averaged, int(step)


def read_tensorflow(prefix: str) -> dict[str, Tensor]:
    """Returns the variables of a TensorFlow checkpoint by name.

    Args:
        prefix: The path of the checkpoint without the suffixes of its files.

    Raises:
        UserError: TensorFlow is not installed, or the checkpoint cannot be read.
    """
    try:
        from tensorflow.train import load_checkpoint
    except ImportError as error:
        raise UserError(
            f"{prefix} is a checkpoint of TensorFlow, which is not installed; install it, or save the variables as an "
            ".npz where it is installed: np.savez(PATH, **{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()})"
        ) from error
    try:
        reader = load_checkpoint(prefix)
        return {name: torch.as_tensor(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow's own classes cannot be named unless it is installed
        raise UserError(f"{prefix} cannot be read as a checkpoint of TensorFlow ({shown(error)})") from error
