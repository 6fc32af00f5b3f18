"""Where weights come from: our checkpoint, a folder of diffusers, or the official weights in one of three forms."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpm_lightning.diffusion.variances import BetaVariance, Variance
from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.interchange import diffusers_config, official
from ddpm_lightning.interchange.card import facts_of_run
from ddpm_lightning.interchange.carry import Weights, check_fit, to_ours
from ddpm_lightning.interchange.files import read_json, read_npz, read_pickle, read_safetensors
from ddpm_lightning.interchange.layouts import (
    DiffusersLayout,
    EarlyDiffusersLayout,
    Layout,
    OfficialLayout,
    PesserLayout,
)
from ddpm_lightning.interchange.pretrained import Node, Pretrained, node, unet_of
from ddpm_lightning.training.build import MODEL_PARTS, ImageData, make
from ddpm_lightning.training.checkpoint import CONFIG, EMA, model_weights, read_checkpoint
from ddpm_lightning.training.targets import check_model_parts

NETWORK = "network."
"""Before the names of the network's weights in a checkpoint of ours."""


class Source(ABC):
    """Something that weights can be read from."""

    @abstractmethod
    def read(self, data: Node | None) -> Pretrained:
        """The weights and their model; data: the node of a DataModule, for sources that do not say what their images
        are. Raises UserError where they are not of the paper's U-Net."""


@dataclass(frozen=True)
class CheckpointSource(Source):
    """path: a checkpoint of train.py."""

    path: str

    def read(self, data: Node | None) -> Pretrained:
        checkpoint = read_checkpoint(Path(self.path))
        config = checkpoint[CONFIG]
        known = {use_ema: _network_weights(checkpoint, use_ema) for use_ema in (False, True)}
        parts = {part: config[part] for part in (*MODEL_PARTS, "data")}
        facts = facts_of_run(Path(self.path), config)
        return Pretrained(parts, known[False], known[True], checkpoint["global_step"], facts)


def _network_weights(checkpoint: dict[str, Any], use_ema: bool) -> Weights | None:
    if not checkpoint.get(EMA if use_ema else "state_dict"):
        return None
    return {name.removeprefix(NETWORK): w for name, w in model_weights(checkpoint, use_ema).items()}


@dataclass(frozen=True)
class _Foreign(Source):
    """path: see each. averaged: whether its weights are an average over training; null where the file says so itself.
    step: how long they were trained, if that is known."""

    path: str
    averaged: bool | None = None
    step: int = 0

    def __post_init__(self) -> None:
        check_whole("source.step", self.step, 0, "leave it out where it is not known")

    def _made(self, parts: Mapping[str, Node], weights: Weights, averaged: bool | None, step: int = 0) -> Pretrained:
        """Raises UserError where nobody says which weights they are."""
        known = averaged if self.averaged is None else self.averaged
        if known is None:
            raise UserError(
                f"{self.path} does not say whether its weights are averaged, and samples of the two differ much; say "
                "source.averaged=true (google/ddpm-ema-…) or source.averaged=false (google/ddpm-cifar10-32)"
            )
        facts = {"imported_from": self.path}
        return Pretrained(parts, None if known else weights, weights if known else None, self.step or step, facts)


@dataclass(frozen=True)
class DiffusersSource(_Foreign):
    """path: a folder of diffusers, or the name of one on the Hugging Face hub."""

    def read(self, data: Node | None) -> Pretrained:
        folder = _folder(self.path)
        unet, scheduler = _component(folder, "unet"), _component(folder, "scheduler")
        config, source = read_json(unet / "config.json"), f"{self.path}: config.json"
        parts = diffusers_config.parts_of(read_json(scheduler / "scheduler_config.json"), self.path)
        parts = {**parts, "network": diffusers_config.network_of(config, source), "data": _required(data)}
        channels, size = config.get("in_channels", 3), diffusers_config.size_of(config, source)
        _check_images(make(dict(parts["data"]), ImageData), channels, size)
        weights, said = _weights_in(unet)
        early = any(name.endswith(".query.weight") for name in weights)
        layout: Layout = EarlyDiffusersLayout() if early else DiffusersLayout()
        ours = to_ours(unet_of(parts), layout, weights, self.path)
        averaged = {"ema": True, "raw": False}.get(said.get("weights", ""))
        return self._made(parts, ours, averaged, int(said.get("step", 0)))


@dataclass(frozen=True)
class SafetensorsSource(_Foreign):
    """path: a folder that target=safetensors wrote."""

    def read(self, data: Node | None) -> Pretrained:
        folder = Path(self.path)
        parts = read_json(folder / "config.json")
        missing = [part for part in (*MODEL_PARTS, "data") if not isinstance(parts.get(part), dict)]
        if missing:
            raise UserError(f"{folder / 'config.json'} lacks {', '.join(missing)}; take a folder of target=safetensors")
        parts = {part: parts[part] for part in (*MODEL_PARTS, "data")}
        check_model_parts(parts, str(folder))
        weights, said = read_safetensors(folder / "model.safetensors")
        check_fit(weights, dict(unet_of(parts).named_parameters()), str(folder))
        return self._made(parts, weights, {"ema": True, "raw": False}.get(said.get("weights", "")), int(said["step"]))


@dataclass(frozen=True)
class PesserSource(_Foreign):
    """path: a .ckpt of pesser/pytorch_diffusion. variance: β for its CIFAR-10, β̃ for its 256×256 models."""

    variance: Variance = field(default_factory=BetaVariance)

    def read(self, data: Node | None) -> Pretrained:
        weights = read_pickle(Path(self.path))
        parts = _official_parts(weights, self.variance, data, self.path)
        return self._made(parts, to_ours(unet_of(parts), PesserLayout(), weights, self.path), None)


@dataclass(frozen=True)
class TensorFlowSource(_Foreign):
    """path: the prefix of an official checkpoint (…/model.ckpt-790000), or an .npz of its variables."""

    variance: Variance = field(default_factory=BetaVariance)

    def read(self, data: Node | None) -> Pretrained:
        raw, averaged, step = official.sorted_out(self._variables())
        parts = _official_parts(raw or averaged, self.variance, data, self.path)
        network = unet_of(parts)
        ours = [to_ours(network, OfficialLayout(), each, self.path) if each else None for each in (raw, averaged)]
        return Pretrained(parts, ours[0], ours[1], self.step or step, {"imported_from": self.path})

    def _variables(self) -> dict[str, Tensor]:
        if self.path.endswith(".npz"):
            return read_npz(Path(self.path))
        return official.read_tensorflow(self.path)


def _official_parts(weights: Weights, variance: Variance, data: Node | None, source: str) -> dict[str, Node]:
    size = make(dict(_required(data)), ImageData).size
    network = official.network_of(weights, size, source)
    return {**official.fixed_parts(), "variance": node(type(variance)), "network": network, "data": _required(data)}


def _required(data: Node | None) -> Node:
    if data is None:
        raise UserError(
            "the weights do not say what their images are; say data=cifar10, or data=image_folder data.root=PATH "
            "data.side=256"
        )
    return data


def _check_images(data: ImageData, channels: int, size: tuple[int, int]) -> None:
    if (data.channels, tuple(data.size)) != (channels, size):
        raise UserError(
            f"the network makes {channels}×{size[0]}×{size[1]} images, and the data are "
            f"{data.channels}×{data.size[0]}×{data.size[1]}; choose data= of that shape"
        )


def _folder(path: str) -> Path:
    """The folder, downloaded if it is none here but a name on the hub."""
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
    except Exception as error:  # of the network, the hub, or the disk: each has its own kinds
        said = str(error).partition("\n")[0]
        raise UserError(f"there is no folder {path}, and the Hugging Face hub gives none ({said})") from error


def _component(folder: Path, name: str) -> Path:
    """unet/ or scheduler/, which google's models have not."""
    return folder / name if (folder / name).is_dir() else folder


def _weights_in(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    name = "diffusion_pytorch_model"
    if (folder / f"{name}.safetensors").is_file():
        return read_safetensors(folder / f"{name}.safetensors")
    if (folder / f"{name}.bin").is_file():
        return read_pickle(folder / f"{name}.bin"), {}
    raise UserError(f"{folder} has neither {name}.safetensors nor {name}.bin; take a whole folder of diffusers")
