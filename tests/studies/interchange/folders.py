"""Checkpoints of ours, and folders as diffusers itself writes them, all weights random."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.destinations import CheckpointTarget
from ddpm_lightning.studies.interchange.pretrained import Node, Pretrained, node
from tests.networks.small import SMALL, randomise
from tests.peers import unet_of_diffusers

FAKE = {"_target_": "ddpm_lightning.data.fake.FakeDataModule", "channels": 3, "size": [8, 8], "levels": 256}
LINEAR = {"_target_": "ddpm_lightning.diffusion.schedules.LinearSchedule", "T": 1000, "beta_1": 1e-4, "beta_T": 0.02}

AS_JSON = json.loads(json.dumps(SMALL))
"""A checkpoint's configuration has lists, not tuples."""


def parts(**others: Node) -> dict[str, Node]:
    """A small model of 8×8 images, with other parts where they are given."""
    return {
        "schedule": LINEAR,
        "parameterization": {"_target_": "ddpm_lightning.diffusion.parameterizations.Epsilon"},
        "variance": {"_target_": "ddpm_lightning.diffusion.variances.BetaVariance"},
        "network": node(UNet, **AS_JSON, dropout=0.1),
        "data": FAKE,
        **others,
    }


def random_checkpoint(path: Path, out_channels: int = 3, **others: Node) -> Path:
    """A checkpoint of ours with different raw and averaged weights."""
    found = []
    for _ in range(2):
        network = UNet(3, out_channels, (8, 8), **SMALL)  # type: ignore[arg-type]
        randomise(network)
        found.append(network.state_dict())
    return CheckpointTarget(str(path)).write(Pretrained(parts(**others), found[0], found[1], step=123))


def small_unet_of_diffusers() -> UNet2DModel:
    """diffusers' U-Net of the same small size."""
    unet = unet_of_diffusers(8, [16, 32], {1}, blocks=1, groups=8)
    randomise(unet)
    return unet


def write_pipeline(folder: Path, unet: UNet2DModel, **scheduler: Any) -> Path:
    """A folder as diffusers writes it."""
    DDPMPipeline(unet, DDPMScheduler(**{"variance_type": "fixed_large", **scheduler})).save_pretrained(folder)
    return folder


def as_google_published(folder: Path) -> Path:
    """The same without subfolders, with the attention's early names, in a .bin: as google/ddpm-* were."""
    unet = UNet2DModel.from_pretrained(folder / "unet")
    early = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, weight in unet.state_dict().items():
        for now, then in early.items():
            name = name.replace(f".{now}.", f".{then}.")
        weights[name] = weight
    flat = folder.with_name("google")
    flat.mkdir()
    torch.save(weights, flat / "diffusion_pytorch_model.bin")
    for path in (folder / "unet" / "config.json", folder / "scheduler" / "scheduler_config.json"):
        (flat / path.name).write_text(path.read_text())
    return flat


def change(path: Path, **values: Any) -> None:
    """Writes other values into a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
