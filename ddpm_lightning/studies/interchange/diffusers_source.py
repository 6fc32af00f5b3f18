"""The source of diffusers' weights: a folder, or a name on the Hugging Face hub. diffusers itself is not needed."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ddpm_lightning.configuration.build import ImageData, make
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.interchange import diffusers_config
from ddpm_lightning.studies.interchange.carry import to_ours
from ddpm_lightning.studies.interchange.files import read_json, read_pickle, read_safetensors
from ddpm_lightning.studies.interchange.layouts import DiffusersLayout, EarlyDiffusersLayout, Layout
from ddpm_lightning.studies.interchange.pretrained import Node, Pretrained, unet_of
from ddpm_lightning.studies.interchange.source import SingleSource, required

EMBEDDING = "class_embedding.weight"
"""diffusers' name of the class embedding's weight, which has a row for each class."""


@dataclass(frozen=True)
class DiffusersSource(SingleSource):
    """A folder of diffusers with a UNet2DModel and its scheduler.

    Args:
        path: The folder, or its name on the Hugging Face hub.
    """

    def read(self, data: Node | None) -> Pretrained:
        images = make(dict(required(data)), ImageData)
        folder = find_folder(self.path)
        unet, scheduler = _component(folder, "unet"), _component(folder, "scheduler")
        config, source = read_json(unet / "config.json"), f"{self.path}: config.json"
        network = diffusers_config.network_of(config, source)
        _check_images(images, config.get("in_channels", 3), diffusers_config.size_of(config, source))
        parts = diffusers_config.parts_of(read_json(scheduler / "scheduler_config.json"), self.path)
        parts = {**parts, "network": network, "data": required(data)}
        weights, metadata = _weights_in(unet)
        if (rows := config.get("num_class_embeds")) is not None:
            names = getattr(images, "class_names", ())
            parts["conditioning"] = diffusers_config.conditioning_of_rows(rows, names, source)
            weights = _with_row_of_no_class(weights, len(names))
        early = any(name.endswith(".query.weight") for name in weights)
        layout: Layout = EarlyDiffusersLayout() if early else DiffusersLayout()
        return self.pretrained(parts, to_ours(unet_of(parts), layout, weights, self.path), metadata)


def _check_images(data: ImageData, channels: object, size: tuple[int, int]) -> None:
    if (data.channels, tuple(data.size)) != (channels, size):
        raise UserError(
            f"the network makes {channels}×{size[0]}×{size[1]} images, and the data are "
            f"{data.channels}×{data.size[0]}×{data.size[1]}; choose data= of that shape"
        )


def _with_row_of_no_class(weights: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Returns the weights with a row of zeros for no class, if their embedding has rows for classes alone."""
    rows = weights.get(EMBEDDING)
    if rows is None or len(rows) != classes:
        return weights
    return {**weights, EMBEDDING: torch.cat([rows, torch.zeros_like(rows[:1])])}


def find_folder(path: str) -> Path:
    """Returns the folder, which is downloaded if `path` is a name on the Hugging Face hub.

    Raises:
        UserError: There is no such folder and no such name, or the download failed.
    """
    if Path(path).is_dir():
        return Path(path)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        raise UserError(f"there is no folder {path}; give a folder of diffusers, or a name on the Hugging Face hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"there is no folder {path}, and huggingface_hub, which would download it, is not installed; "
            "pip install 'ddpm-lightning[diffusers]'"
        ) from error
    try:
        return Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.bin"]))
    except Exception as error:  # network, hub and disk have their own classes
        reason = str(error).partition("\n")[0]
        raise UserError(f"there is no folder {path}, and the Hugging Face hub gives none ({reason})") from error


def _component(folder: Path, name: str) -> Path:
    """Returns the subfolder of a component, or the folder itself if it has no subfolders, as in Google's models."""
    return folder / name if (folder / name).is_dir() else folder


def _weights_in(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the weights of a UNet2DModel by name, and the metadata of their file."""
    name = "diffusion_pytorch_model"
    if (folder / f"{name}.safetensors").is_file():
        return read_safetensors(folder / f"{name}.safetensors")
    if (folder / f"{name}.bin").is_file():
        return read_pickle(folder / f"{name}.bin"), {}
    raise UserError(f"{folder} has neither {name}.safetensors nor {name}.bin; take a whole folder of diffusers")
