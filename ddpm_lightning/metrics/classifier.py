"""A small classifier for data on which Inception would see nothing, and where it lies."""

import json
from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extracted, Extractor, sha256_of
from ddpm_lightning.typing import Pixels

FEATURES = 64
DESCRIPTION = "classifier"
"""The key of the file's metadata that says what the classifier is for."""


class SmallClassifier(nn.Module):
    """Four convolutions, the mean over places as features (as in Inception), and one linear layer.

    channels, size (height, width): of the images. classes: how many it tells apart.
    """

    def __init__(self, channels: int, size: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.channels, self.size, self.classes = channels, size, classes
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GroupNorm(8, 64), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.GroupNorm(8, 64), nn.ReLU()),
            *(nn.Conv2d(64, FEATURES, 3, padding=1), nn.GroupNorm(8, FEATURES), nn.ReLU()),
        )
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Pixels) -> tuple[Tensor, Tensor]:
        """Images in 0..255, [n, c, h, w], to features, [n, 64], and logits, [n, classes]."""
        features = self.body(images.float() / 127.5 - 1).mean((2, 3))
        return features, self.head(features)


class DataSetClassifier(Extractor):
    """A classifier of one data set, trained by `python train_classifier.py data=NAME` and shipped with the project.

    weights: its file; None takes the one shipped for data set `name`.
    """

    num_features = FEATURES

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__()
        self.name = f"classifier_{name}"
        path = shipped_weights(name) if weights is None else Path(weights)
        self.network = load_classifier(path)
        self.fingerprint = sha256_of(path)
        self.suffix = "" if weights is None else f"_{self.fingerprint[:8]}"
        self.requires_grad_(False)
        self.eval()

    def extract(self, images: Pixels) -> Extracted:
        expected = (self.network.channels, *self.network.size)
        if tuple(images.shape[1:]) != expected:
            raise UserError(
                f"images of {tuple(images.shape[1:])} (channels, height, width) cannot be judged by {self.name}, which "
                f"knows {expected}; choose the metrics of their own data set, or fid"
            )
        return Extracted(*self.network(images))


def shipped_weights(name: str) -> Path:
    """Where the classifier of a data set lies in the package."""
    return Path(str(files("ddpm_lightning.metrics"))) / "weights" / f"{name}.safetensors"


def load_classifier(path: Path) -> SmallClassifier:
    """The classifier of a file. Raises UserError, naming the file, where it is none."""
    if not path.is_file():
        raise UserError(f"there is no classifier {path}; train one with: python train_classifier.py data=NAME")
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})[DESCRIPTION])
            network = SmallClassifier(description["channels"], tuple(description["size"]), description["classes"])
            network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118  # no mapping
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} holds no classifier of train_classifier.py ({reason}); give another file") from error
    return network


def describe(network: SmallClassifier, **facts: object) -> dict[str, str]:
    """The metadata of a classifier's file: its shape, and whatever else is to be known of it."""
    shape = {"channels": network.channels, "size": list(network.size), "classes": network.classes}
    return {DESCRIPTION: json.dumps({**shape, **facts})}
