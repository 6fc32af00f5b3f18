"""Sources of our own weights: a checkpoint of train.py, or a folder of target=safetensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ddpm_lightning.configuration.allowed_targets import check_model_parts
from ddpm_lightning.configuration.build import MODEL_PARTS, UNCONDITIONAL
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.interchange.card import facts_of_run
from ddpm_lightning.studies.interchange.carry import Weights, check_fit
from ddpm_lightning.studies.interchange.files import read_json, read_safetensors
from ddpm_lightning.studies.interchange.pretrained import Node, Pretrained, unet_of
from ddpm_lightning.studies.interchange.source import SingleSource, Source
from ddpm_lightning.training.checkpoint import CONFIG, EMA, read_checkpoint, without_prefixes

PARTS = (*MODEL_PARTS, "data")


@dataclass(frozen=True)
class CheckpointSource(Source):
    """A checkpoint of train.py, with raw and averaged weights."""

    def read(self, data: Node | None) -> Pretrained:
        checkpoint = read_checkpoint(Path(self.path))
        parts = _parts_in(checkpoint[CONFIG])
        expected = dict(unet_of(parts).named_parameters())
        raw = _fitting(checkpoint["state_dict"], "model.network.", expected, self.path)
        averaged = _fitting(checkpoint.get(EMA, {}), "network.", expected, self.path)
        step = checkpoint["global_step"]
        return Pretrained(parts, raw, averaged, step, facts_of_run(Path(self.path), checkpoint[CONFIG], step))


def _parts_in(config: Mapping[str, Node]) -> dict[str, Node]:
    """Returns the parts of a model in a configuration; the conditioning, too, if there is any."""
    conditioning = config.get("conditioning", UNCONDITIONAL)
    parts = {part: config[part] for part in PARTS}
    return parts if conditioning == UNCONDITIONAL else {**parts, "conditioning": conditioning}


def _fitting(tensors: Mapping[str, Tensor], prefix: str, expected: Weights, source: str) -> Weights | None:
    """Returns the weights whose names begin with the prefix, without it; None if there are none."""
    weights = {name.removeprefix(prefix): w for name, w in without_prefixes(tensors).items() if name.startswith(prefix)}
    if not weights:
        return None
    check_fit(weights, expected, source)
    return weights


@dataclass(frozen=True)
class SafetensorsSource(SingleSource):
    """A folder that target=safetensors wrote."""

    def read(self, data: Node | None) -> Pretrained:
        folder = Path(self.path)
        config = read_json(folder / "config.json")
        missing = [part for part in PARTS if not isinstance(config.get(part), dict)]
        if missing:
            raise UserError(f"{folder / 'config.json'} lacks {', '.join(missing)}; take a folder of target=safetensors")
        parts = _parts_in(config)
        check_model_parts(parts, str(folder))
        weights, metadata = read_safetensors(folder / "model.safetensors")
        check_fit(weights, dict(unet_of(parts).named_parameters()), str(folder))
        return self.pretrained(parts, weights, metadata)
