"""What turns images into features: a fixed classifier, known by its name and the hash of its weights."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ddpm_lightning.typing import FeatureVectors, Logits, Pixels, SomePixels


class Extracted(NamedTuple):
    """What a classifier says of n images: features, [n, d], and logits, [n, k]."""

    features: FeatureVectors
    logits: Logits


class Extractor(nn.Module, ABC):
    """A fixed classifier of images.

    num_features: d. fingerprint: the SHA-256 of its file of weights, so that two results with the same one compare.
    suffix: what a result's name adds for weights that are not those that everyone has.
    """

    name: str
    num_features: int
    fingerprint: str
    suffix: str = ""

    @abstractmethod
    def extract(self, images: Pixels) -> Extracted:
        """Features and logits of images in 0..255. Raises UserError where they are not of a kind it knows."""

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device

    @property
    def origin(self) -> dict[str, str]:
        """What results.json says of it."""
        return {"extractor": self.name, "extractor_sha256": self.fingerprint}

    def forward(self, images: Pixels) -> FeatureVectors:
        """The features alone, as torchmetrics asks for them."""
        return self.extract(images).features

    def train(self, mode: bool = True) -> "Extractor":
        """Stays as it is for evaluation."""
        return super().train(False)


@torch.no_grad()
def extract_all(extractor: Extractor, batches: Iterable[SomePixels]) -> Extracted:
    """Features and logits of all images, in their order; float32, on the CPU."""
    extracted = [[part.float().cpu() for part in extractor.extract(batch.to(extractor.device))] for batch in batches]
    features, logits = zip(*extracted, strict=True)
    return Extracted(torch.cat(features), torch.cat(logits))


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
