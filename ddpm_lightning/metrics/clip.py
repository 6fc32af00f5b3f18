"""CLIP's image encoder, as ported by torch-fidelity."""

import warnings
from functools import lru_cache
from pathlib import Path

import torch
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP

from ddpm_lightning.errors import UserError, counted, shown
from ddpm_lightning.metrics.extractor import Extracted, Extractor, sha256_of
from ddpm_lightning.metrics.weight_files import published
from ddpm_lightning.typing import Pixels

NAME = "clip-vit-b-32"
"""torch-fidelity's name of ViT-B/32."""

URL, PUBLIC_SHA256 = MODEL_URLS[NAME], MODEL_METADATA[NAME]["hash"]
"""The address and the checksum of the public weights of ViT-B/32. Results with other weights have a suffix."""


class CLIP(Extractor):
    """CLIP, ViT-B/32: the 512 features that are compared with those of texts; they are its logits, too.

    Args:
        weights: a file of OpenAI's format (a TorchScript archive, so take only one that you trust); None takes that of
            ViT-B/32 in torch-fidelity's cache, or downloads it (354 MB).

    Raises:
        UserError: the weights cannot be downloaded, or the file holds others.

    References:
        Radford et al. (2021), "Learning Transferable Visual Models From Natural Language Supervision".
        Kynkäänniemi et al. (2023), "The Role of ImageNet Classes in Fréchet Inception Distance".
    """

    name = "clip"

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        cached = f"{NAME}-{PUBLIC_SHA256}.pt"  # the name that torch-fidelity gives it
        path = Path(weights or published(URL, "CLIP", "extractor.weights", file=cached))
        self.network = load_clip(path)
        self.num_features = features_of(self.network)
        self.fingerprint = sha256_of(path)
        self.suffix = "" if self.fingerprint == PUBLIC_SHA256 else f"_{self.fingerprint[:8]}"

    def extract(self, images: Pixels) -> Extracted:
        if images.shape[1] not in (1, 3):
            raise UserError(
                f"images of {counted(images.shape[1], 'channel')} cannot be judged by CLIP; it knows 3 or 1"
            )
        (features,) = self.network(images.expand(-1, 3, -1, -1))
        return Extracted(features, features)


@lru_cache(maxsize=1)
def load_clip(path: Path) -> FeatureExtractorCLIP:
    """Returns the image encoder of a file. Raises UserError if the file holds none."""
    if not path.is_file():
        raise UserError(f"there is no file {path} of CLIP's weights; extractor.weights= takes {URL}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.jit.load, which the format needs, is deprecated
            return FeatureExtractorCLIP(NAME, ["clip"], str(path))
    except (RuntimeError, KeyError, ValueError, AttributeError, IndexError) as error:
        reason = shown(" ".join(str(error).split()))
        raise UserError(f"{path} does not hold weights of CLIP ({reason}); fetch {URL} again") from error


def features_of(network: FeatureExtractorCLIP) -> int:
    """Returns the number of features of an image encoder."""
    return int(network(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))[0].shape[1])
