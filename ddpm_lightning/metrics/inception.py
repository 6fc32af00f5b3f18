"""The Inception network of FID, IS and KID, by way of torch-fidelity, whose port equals the original's."""

import os
import pickle
from functools import lru_cache
from pathlib import Path
from urllib.error import URLError

import torch
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extracted, Extractor, sha256_of
from ddpm_lightning.typing import Pixels

FILE = URL_INCEPTION_V3.rpartition("/")[2]
PUBLIC = Path(FILE).stem.rpartition("-")[2]
"""How the SHA-256 of the file begins that everyone has; torch.hub puts it into the name."""


class Inception(Extractor):
    """Inception v3 of 2015-12-05; features: the last pooling layer's 2048, logits: without their bias.

    weights: a file in torch-fidelity's format; None takes it from torch.hub's cache or downloads it.
    """

    name = "inception-v3-compat"
    num_features = 2048

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        path = downloaded() if weights is None else Path(weights)
        self.network = load_inception(path)
        self.fingerprint = sha256_of(path)
        self.suffix = "" if self.fingerprint.startswith(PUBLIC) else f"_{self.fingerprint[:8]}"

    def extract(self, images: Pixels) -> Extracted:
        if images.shape[1] not in (1, 3):
            raise UserError(
                f"images of {images.shape[1]} channels are no pictures to Inception; it knows 3, or 1 as grey"
            )
        return Extracted(*self.network(images.expand(-1, 3, -1, -1)))


def downloaded() -> Path:
    """The file in torch.hub's cache, after a download if need be. Raises UserError where that cannot be."""
    path: Path = Path(str(torch.hub.get_dir())) / "checkpoints" / FILE
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path))
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"Inception's weights could not be downloaded ({error}); fetch {URL_INCEPTION_V3} elsewhere, and put "
                f"it at {path} or name it with inception_weights=PATH (training alone does without: quality=none)"
            ) from error
    return path


@lru_cache(maxsize=1)
def load_inception(path: Path) -> FeatureExtractorInceptionV3:
    """The network with the weights of a file. Raises UserError where it holds others."""
    if not path.is_file():
        raise UserError(
            f"there is no file {path} of Inception's weights; inception_weights= takes torch-fidelity's {FILE}, "
            f"to be had at {URL_INCEPTION_V3}"
        )
    try:
        torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity itself would run code in the file
        return FeatureExtractorInceptionV3(Inception.name, ["2048", "logits_unbiased"], os.fspath(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (
            "it is no file of tensors" if isinstance(error, pickle.UnpicklingError) else " ".join(str(error).split())
        )
        reason = reason if len(reason) <= 160 else f"{reason[:160]} …"
        raise UserError(
            f"{path} does not hold the weights of torch-fidelity's {FILE} ({reason}); fetch it again"
        ) from error
