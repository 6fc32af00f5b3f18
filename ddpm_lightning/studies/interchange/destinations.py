"""Targets of weights: a checkpoint of ours, a folder that diffusers loads, or plain safetensors."""

import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import save_file

from ddpm_lightning.configuration.build import ImageData, conditioning_of, network_shape
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.interchange import diffusers_config
from ddpm_lightning.studies.interchange.card import USAGE_OF_CLASSES, USAGE_OF_DIFFUSERS, USAGE_OF_SAFETENSORS, card
from ddpm_lightning.studies.interchange.carry import Weights, to_theirs
from ddpm_lightning.studies.interchange.layouts import DiffusersLayout
from ddpm_lightning.studies.interchange.pretrained import Pretrained, unet_of
from ddpm_lightning.training.checkpoint import CONFIG, EMA, AtomicCheckpointIO


@dataclass(frozen=True)
class Target(ABC):
    """A place that weights can be written to.

    Args:
        path: The file or folder, which must not exist.

    Raises:
        UserError: The path exists.

    Example:
        >>> from safetensors.torch import save_file
        >>> class WeightsFile(Target):
        ...     '''A safetensors file with the averaged weights, and nothing else.'''
        ...
        ...     def write(self, pretrained):
        ...         save_file(dict(pretrained.weights(use_ema=True)), self.path)
        ...         return Path(self.path)
        >>> WeightsFile("weights.safetensors").path
        'weights.safetensors'
    """

    path: str

    def __post_init__(self) -> None:
        if Path(self.path).exists():
            raise UserError(f"target.path={self.path} is there already, and would be overwritten; choose another")

    @abstractmethod
    def write(self, pretrained: Pretrained) -> Path:
        """Writes the weights with their model, and returns the path."""


@dataclass(frozen=True)
class CheckpointTarget(Target):
    """A checkpoint for sample.py and evaluate.py, with raw and averaged weights and no optimizer state."""

    def write(self, pretrained: Pretrained) -> Path:
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        contents: dict[str, Any] = {
            CONFIG: {**pretrained.parts, "seed": 0, "facts": dict(pretrained.facts)},
            "state_dict": _with_prefix("model.network.", pretrained.raw or {}),
            "global_step": pretrained.step,
        }
        if pretrained.averaged is not None:
            contents[EMA] = _with_prefix("network.", pretrained.averaged)
        AtomicCheckpointIO().save_checkpoint(contents, path)
        return path


@dataclass(frozen=True)
class FolderTarget(Target):
    """A folder with one set of weights and a model card. It is written whole or not at all.

    Args:
        path: The folder.
        use_ema: Whether to write the averaged weights or the raw ones.
    """

    use_ema: bool = True

    usage: ClassVar[str]

    @abstractmethod
    def fill(self, folder: Path, pretrained: Pretrained) -> None:
        """Writes the files of the folder, except for the model card."""

    def write(self, pretrained: Pretrained) -> Path:
        folder = Path(f"{self.path}.{os.getpid()}.tmp")
        self.fill(folder, pretrained)
        (folder / "README.md").write_text(card(pretrained, self.use_ema, self.usage_of(pretrained)), encoding="utf-8")
        return folder.rename(self.path)

    def usage_of(self, pretrained: Pretrained) -> str:
        """Returns commands or code that use the weights."""
        return self.usage

    def save(self, weights: Weights, path: Path, pretrained: Pretrained) -> None:
        """Writes a safetensors file whose metadata say which weights it holds."""
        metadata = {"format": "pt", "weights": "ema" if self.use_ema else "raw", "step": str(pretrained.step)}
        save_file(dict(weights), path, metadata=metadata)


@dataclass(frozen=True)
class DiffusersTarget(FolderTarget):
    """A folder for diffusers' DDPMPipeline.from_pretrained.

    diffusers has no pipeline for a model of classes, which becomes a UNet2DModel and a scheduler. The last row of its
    class embedding is that of no class.
    """

    usage = USAGE_OF_DIFFUSERS

    def usage_of(self, pretrained: Pretrained) -> str:
        return USAGE_OF_CLASSES if "conditioning" in pretrained.parts else self.usage

    def fill(self, folder: Path, pretrained: Pretrained) -> None:
        variance, data = pretrained.build("variance", Variance), pretrained.build("data", ImageData)
        built = (
            pretrained.build("schedule", Schedule),
            pretrained.build("parameterization", Parameterization),
            variance,
        )
        scheduler = diffusers_config.scheduler_config(*built)
        shape = network_shape(variance, data, conditioning_of(pretrained.parts))
        unet = diffusers_config.unet_config(pretrained.parts["network"], **shape)
        weights = to_theirs(unet_of(pretrained.parts), DiffusersLayout(), pretrained.weights(self.use_ema))
        _write_json(folder / "unet" / "config.json", _with_version(unet))
        _write_json(folder / "scheduler" / "scheduler_config.json", _with_version(scheduler))
        if unet["num_class_embeds"] is None:
            index = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
            _write_json(folder / "model_index.json", {"_class_name": "DDPMPipeline", **_with_version(index)})
        self.save(weights, folder / "unet" / "diffusion_pytorch_model.safetensors", pretrained)


@dataclass(frozen=True)
class SafetensorsTarget(FolderTarget):
    """A folder with model.safetensors by our names and config.json."""

    usage = USAGE_OF_SAFETENSORS

    def fill(self, folder: Path, pretrained: Pretrained) -> None:
        weights = pretrained.weights(self.use_ema)
        _write_json(folder / "config.json", dict(pretrained.parts))
        self.save(weights, folder / "model.safetensors", pretrained)


def _with_prefix(prefix: str, weights: Weights) -> dict[str, Any]:
    return {prefix + name: weight for name, weight in weights.items()}


def _write_json(path: Path, contents: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def _with_version(config: dict[str, Any]) -> dict[str, Any]:
    """Adds diffusers' version, as diffusers itself does, if it is installed."""
    try:
        return {**config, "_diffusers_version": version("diffusers")}
    except PackageNotFoundError:
        return config
