"""The Inception network of FID, IS and KID, as ported by torch-fidelity."""

import os
import pickle
from functools import lru_cache
from pathlib import Path

import torch
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from ddpm_lightning.errors import UserError, counted, shown
from ddpm_lightning.metrics.extractor import Extracted, Extractor, sha256_of
from ddpm_lightning.metrics.weight_files import published
from ddpm_lightning.typing import Pixels

FILE = URL_INCEPTION_V3.rpartition("/")[2]
PUBLIC_SHA256 = Path(FILE).stem.rpartition("-")[2]
"""The start of the SHA-256 of the public weights; torch.hub's file names hold it."""

WITHOUT = " (training alone does without: quality=none)"
"""Advice for users who cannot get the weights."""


class Inception(Extractor):
    """Inception v3 of 2015-12-05: 2048 features of the last pooling layer, and logits without their bias.

    Args:
        weights: a file in torch-fidelity's format; None takes torch.hub's cache, or downloads it.

    Raises:
        UserError: the weights cannot be downloaded, or the file holds others.
    """

    name = "inception-v3-compat"
    label = "inception"
    num_features = 2048

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        path = Path(weights or published(URL_INCEPTION_V3, "Inception", "inception_weights", WITHOUT))
        self.network = load_inception(path)
        self.fingerprint = sha256_of(path)
        self.suffix = "" if self.fingerprint.startswith(PUBLIC_SHA256) else f"_{self.fingerprint[:8]}"

    def extract(self, images: Pixels) -> Extracted:
        if images.shape[1] not in (1, 3):
            raise UserError(
                f"images of {counted(images.shape[1], 'channel')} cannot be judged by Inception; it knows 3, "
                "or 1 as grey"
            )
        return Extracted(*self.network(images.expand(-1, 3, -1, -1)))


@lru_cache(maxsize=1)
def load_inception(path: Path) -> FeatureExtractorInceptionV3:
    """Returns the network with the weights of a file. Raises UserError if the file does not hold them."""
    if not path.is_file():
        raise UserError(
            f"there is no file {path} of Inception's weights; inception_weights= takes torch-fidelity's {FILE}, "
            f"which lies at {URL_INCEPTION_V3}"
        )
    try:
        torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity itself would run code in the file
        return FeatureExtractorInceptionV3(Inception.name, ["2048", "logits_unbiased"], os.fspath(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        is_pickle = isinstance(error, pickle.UnpicklingError)
        reason = "it is no file of tensors" if is_pickle else shown(" ".join(str(error).split()))
        raise UserError(
            f"{path} does not hold the weights of torch-fidelity's {FILE} ({reason}); fetch it again"
        ) from error
