"""Small classifiers for data that Inception does not suit, such as 8×8 digits."""

import json
from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extracted, Extractor, sha256_of
from ddpm_lightning.typing import Pixels

FEATURES = 64
"""The number of features."""

DESCRIPTION = "classifier"
"""The key of a file's metadata that holds the classifier's shape."""


class SmallClassifier(nn.Module):
    """Four convolutions, their mean over all pixels as features (as in Inception), and one linear layer.

    Args:
        channels: the channels of the images.
        size: their height and width.
        classes: the number of classes.
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
        """Maps images in 0..255, [n, c, h, w], to features, [n, 64], and logits, [n, classes]."""
        features = self.body(images.float() / 127.5 - 1).mean((2, 3))
        return features, self.head(features)


class DataSetClassifier(Extractor):
    """A classifier of one data set, trained by `python train_classifier.py data=NAME`.

    Args:
        name: the data set.
        weights: a file that train_classifier.py wrote; None takes the one shipped for this data set.

    Raises:
        UserError: there is no such file, or it holds no classifier.
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

    @property
    def label(self) -> str:
        return self.name.removeprefix("classifier_")

    def extract(self, images: Pixels) -> Extracted:
        expected = (self.network.channels, *self.network.size)
        if tuple(images.shape[1:]) != expected:
            raise UserError(
                f"images of {tuple(images.shape[1:])} (channels, height, width) cannot be judged by {self.name}, which "
                f"knows {expected}; choose the metrics (or, for a figure, the extractor=) of their own data set"
            )
        return Extracted(*self.network(images))


def shipped_weights(name: str) -> Path:
    """Returns the path of the classifier that is shipped for a data set; the file may be missing."""
    return Path(str(files("ddpm_lightning.metrics"))) / "weights" / f"{name}.safetensors"


def load_classifier(path: Path) -> SmallClassifier:
    """Returns the classifier of a file. Raises UserError, with the path, if the file holds none."""
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
    """Returns the metadata of a classifier's file: its shape, and further facts."""
    shape = {"channels": network.channels, "size": list(network.size), "classes": network.classes}
    return {DESCRIPTION: json.dumps({**shape, **facts})}
