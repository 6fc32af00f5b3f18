"""The trained model of a benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.device import device
from ddpm_lightning.configuration.build import EvaluationData, make
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extractor
from ddpm_lightning.training.checkpoint import load_model, read_checkpoint


@dataclass(frozen=True)
class Checkpoint:
    """The averaged weights of a run of train.py. path: its checkpoint; None if none was given."""

    path: Path | None

    def load(self) -> tuple[DenoisingDiffusion, EvaluationData]:
        """Returns the model, on the device, and its data."""
        _, data, model = load_model(self._given(), use_ema=True)
        return model.to(device()), data

    def extractor(self) -> Extractor:
        """Returns the extractor that the run measured its samples with."""
        config: dict[str, Any] = read_checkpoint(self._given())["config"]
        quality = config["callbacks"].get("quality")
        if quality is None:
            raise UserError(
                f"{self.path} is of a run without quality=, so it is not known by which features to judge its samples; "
                "give a run that has one, as `make train` makes them"
            )
        extractor = make(quality["extractor"]).to(device())
        assert isinstance(extractor, Extractor)
        return extractor

    def __str__(self) -> str:
        return str(self.path)

    def _given(self) -> Path:
        if self.path is None:
            raise UserError(
                "it needs a trained model; give one with --checkpoint PATH (or make bench CHECKPOINT=PATH), such as "
                "outputs/RUN/checkpoints/last.ckpt after `make train`"
            )
        return self.path


@dataclass(frozen=True, kw_only=True)
class OfTrainedModel(Benchmark):
    """A benchmark that needs a trained model."""

    checkpoint: Checkpoint

    @property
    def command(self) -> str:
        return f"{super().command} --checkpoint {self.checkpoint}"
