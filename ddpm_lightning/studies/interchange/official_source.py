"""Sources of the official weights: TensorFlow's, or their translation by pesser/pytorch_diffusion."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ddpm_lightning.configuration.build import ImageData, make
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import check_whole
from ddpm_lightning.npz import read_npz
from ddpm_lightning.studies.interchange.carry import Weights, to_ours
from ddpm_lightning.studies.interchange.files import read_pickle
from ddpm_lightning.studies.interchange.layouts import OfficialLayout, PesserLayout
from ddpm_lightning.studies.interchange.official import fixed_parts, network_of, read_tensorflow, split_variables
from ddpm_lightning.studies.interchange.pretrained import Node, Pretrained, node, unet_of
from ddpm_lightning.studies.interchange.source import SingleSource, Source, required


@dataclass(frozen=True, kw_only=True)
class PesserSource(SingleSource):
    """A file of pesser/pytorch_diffusion.

    Args:
        path: The .ckpt file.
        variance: In the official code β for CIFAR-10 and β̃ for 256×256.
    """

    variance: Variance

    def read(self, data: Node | None) -> Pretrained:
        weights = read_pickle(Path(self.path))
        parts = _parts(weights, self.variance, data, self.path)
        return self.pretrained(parts, to_ours(unet_of(parts), PesserLayout(), weights, self.path), {})


@dataclass(frozen=True, kw_only=True)
class TensorFlowSource(Source):
    """A checkpoint of the official code, with raw and averaged weights.

    Args:
        path: The prefix of the checkpoint (…/model.ckpt-790000), or an .npz of its variables.
        variance: In the official code β for CIFAR-10 and β̃ for 256×256.
        step: Number of training steps, if the checkpoint does not say so.
    """

    variance: Variance
    step: int = 0

    def __post_init__(self) -> None:
        check_whole("source.step", self.step, 0, "leave it out if it is unknown")

    def read(self, data: Node | None) -> Pretrained:
        raw, averaged, step = split_variables(self._variables(), self.path)
        parts = _parts(raw or averaged, self.variance, data, self.path)
        network = unet_of(parts)
        ours = [to_ours(network, OfficialLayout(), each, self.path) if each else None for each in (raw, averaged)]
        return Pretrained(parts, ours[0], ours[1], self.step or step, {"imported_from": self.path})

    def _variables(self) -> Mapping[str, Tensor]:
        if not self.path.endswith(".npz"):
            return read_tensorflow(self.path)
        arrays = read_npz(Path(self.path), None, "take a file of the official variables")
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _parts(weights: Weights, variance: Variance, data: Node | None, source: str) -> dict[str, Node]:
    images = make(dict(required(data)), ImageData)
    network = network_of(weights, images.size, source)
    return {**fixed_parts(), "variance": node(type(variance)), "network": network, "data": required(data)}
