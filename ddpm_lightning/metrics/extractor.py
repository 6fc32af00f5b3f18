"""Feature extractors: fixed classifiers, identified by name and by the hash of their weights."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ddpm_lightning.typing import FeatureVectors, Logits, Pixels, SomePixels

INCEPTION = {"_target_": "ddpm_lightning.metrics.inception.Inception"}
"""The extractor of a configuration that names none."""


class Extracted(NamedTuple):
    """A classifier's output for n images.

    Args:
        features: [n, d].
        logits: [n, k].
    """

    features: FeatureVectors
    logits: Logits


class Extractor(nn.Module, ABC):
    """A fixed classifier that turns images into features and logits.

    Attributes:
        name: its name in results.
        num_features: the number d of features.
        fingerprint: the SHA-256 of its weights; results of equal fingerprints can be compared.
        suffix: the suffix of a result's name, if the weights are not the usual ones.

    Example:
        >>> class MeanColour(Extractor):
        ...     '''Two images are alike if the means of their channels are.'''
        ...
        ...     name, num_features, fingerprint = "mean-colour", 3, "none"
        ...
        ...     def extract(self, images):
        ...         means = images.float().mean((2, 3))
        ...         return Extracted(means, means)
        >>> MeanColour().extract(torch.zeros(5, 3, 8, 8, dtype=torch.uint8)).features.shape
        torch.Size([5, 3])
    """

    name: str
    num_features: int
    fingerprint: str
    suffix: str = ""

    @abstractmethod
    def extract(self, images: Pixels) -> Extracted:
        """Returns features and logits of images.

        Args:
            images: [n, c, h, w] in 0..255.

        Raises:
            UserError: the classifier does not know images of this shape.
        """

    @property
    def label(self) -> str:
        """The part of a score's name that tells the extractor, such as "digits" in fd_digits."""
        return self.name

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(self.parameters()).device

    @property
    def origin(self) -> dict[str, str]:
        """Its name and fingerprint, for the record of a result."""
        return {"extractor": self.name, "extractor_sha256": self.fingerprint}

    def forward(self, images: Pixels) -> FeatureVectors:
        """Returns the features alone, as torchmetrics needs them: [n, d]."""
        return self.extract(images).features

    def train(self, mode: bool = True) -> "Extractor":
        """Stays in evaluation mode, whatever `mode` is."""
        return super().train(False)


@torch.no_grad()
def extract_all(extractor: Extractor, batches: Iterable[SomePixels]) -> Extracted:
    """Returns the features and logits of all images of all batches, in order, in float32 on the CPU."""
    extracted = [[part.float().cpu() for part in extractor.extract(batch.to(extractor.device))] for batch in batches]
    features, logits = zip(*extracted, strict=True)
    return Extracted(torch.cat(features), torch.cat(logits))


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
