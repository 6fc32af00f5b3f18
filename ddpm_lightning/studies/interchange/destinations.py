"""Where weights go: our checkpoint, a folder that diffusers loads, or plain safetensors."""

import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ddpm_lightning.configuration.build import ImageData, network_shape
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.interchange import diffusers_config
from ddpm_lightning.studies.interchange.card import DIFFUSERS, SAFETENSORS, card
from ddpm_lightning.studies.interchange.carry import Weights, to_theirs
from ddpm_lightning.studies.interchange.layouts import DiffusersLayout
from ddpm_lightning.studies.interchange.pretrained import Pretrained, unet_of
from ddpm_lightning.training.checkpoint import CONFIG, EMA, AtomicCheckpointIO


@dataclass(frozen=True)
class Target(ABC):
    """Something that weights can be written to. path: where, and nothing may be there: UserError."""

    path: str

    def __post_init__(self) -> None:
        if Path(self.path).exists():
            raise UserError(f"target.path={self.path} is there already, and would be written over; choose another")

    @abstractmethod
    def write(self, pretrained: Pretrained) -> Path:
        """Writes them; returns where they are."""


@dataclass(frozen=True)
class CheckpointTarget(Target):
    """path: a file for sample.py and evaluate.py, with both kinds of weights, without an optimizer's state."""

    def write(self, pretrained: Pretrained) -> Path:
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        contents: dict[str, Any] = {
            CONFIG: {**pretrained.parts, "seed": 0, "facts": dict(pretrained.facts)},
            "state_dict": _named("model.network.", pretrained.raw),
            "global_step": pretrained.step,
        }
        if pretrained.averaged is not None:
            contents[EMA] = _named("network.", pretrained.averaged)
        AtomicCheckpointIO().save_checkpoint(contents, path)
        return path


@dataclass(frozen=True)
class DiffusersTarget(Target):
    """path: a folder for DDPMPipeline.from_pretrained. use_ema: the averaged weights, or the raw ones."""

    use_ema: bool = True

    def write(self, pretrained: Pretrained) -> Path:
        variance, data = pretrained.made("variance", Variance), pretrained.made("data", ImageData)
        made = (pretrained.made("schedule", Schedule), pretrained.made("parameterization", Parameterization), variance)
        scheduler = diffusers_config.scheduler_config(*made)
        unet = diffusers_config.unet_config(pretrained.parts["network"], **network_shape(variance, data))
        weights = to_theirs(unet_of(pretrained.parts), DiffusersLayout(), pretrained.weights(self.use_ema))
        folder = _beside(self.path)
        _write_json(folder / "unet" / "config.json", _with_version(unet))
        _write_json(folder / "scheduler" / "scheduler_config.json", _with_version(scheduler))
        index = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
        _write_json(folder / "model_index.json", {"_class_name": "DDPMPipeline", **_with_version(index)})
        _save(weights, folder / "unet" / "diffusion_pytorch_model.safetensors", pretrained, self.use_ema)
        (folder / "README.md").write_text(card(pretrained, self.use_ema, DIFFUSERS), encoding="utf-8")
        return folder.rename(self.path)


@dataclass(frozen=True)
class SafetensorsTarget(Target):
    """path: a folder with model.safetensors by our names, config.json and a model card. use_ema: as above."""

    use_ema: bool = True

    def write(self, pretrained: Pretrained) -> Path:
        weights = pretrained.weights(self.use_ema)
        folder = _beside(self.path)
        _write_json(folder / "config.json", dict(pretrained.parts))
        _save(weights, folder / "model.safetensors", pretrained, self.use_ema)
        (folder / "README.md").write_text(card(pretrained, self.use_ema, SAFETENSORS), encoding="utf-8")
        return folder.rename(self.path)


def _beside(path: str) -> Path:
    """Where a folder is written before it takes its name, so that there is a whole one or none."""
    return Path(f"{path}.{os.getpid()}.tmp")


def _named(prefix: str, weights: Weights | None) -> dict[str, Any]:
    return {prefix + name: weight for name, weight in (weights or {}).items()}


def _write_json(path: Path, contents: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def _with_version(config: dict[str, Any]) -> dict[str, Any]:
    """As diffusers marks what it writes, where it is installed."""
    try:
        return {**config, "_diffusers_version": version("diffusers")}
    except PackageNotFoundError:
        return config


def _save(weights: Weights, path: Path, pretrained: Pretrained, use_ema: bool) -> None:
    said = {"format": "pt", "weights": "ema" if use_ema else "raw", "step": str(pretrained.step)}
    save_file(dict(weights), path, metadata=said)
