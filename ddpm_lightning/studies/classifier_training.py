"""Trains the small classifier of a data set, whose features compare generated images with the data."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch.nn.functional import cross_entropy

from ddpm_lightning.configuration.build import EvaluationData, real_images
from ddpm_lightning.metrics.classifier import SmallClassifier
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.seeding import generator
from ddpm_lightning.typing import Labels, Pixels


@runtime_checkable
class LabelledData(EvaluationData, Protocol):
    """A DataModule whose images have class labels."""

    def labels(self, split: str) -> Labels:
        """Returns the classes of a split, int64 [n]."""


def as_bytes(data: LabelledData, split: str) -> Pixels:
    """Returns all images of a split, uint8 [n, c, h, w]."""
    return torch.cat(list(real_images(data, split)))


def fit(config: dict[str, Any], images: Pixels, labels: Labels) -> SmallClassifier:
    """Trains a classifier with cross-entropy and Adam; the learning rate falls to 0 along a cosine.

    Args:
        config: The options steps, batch_size, lr and seed.
        images: The training images, uint8 [n, c, h, w].
        labels: Their classes, int64 [n].
    """
    torch.manual_seed(config["seed"])
    network = SmallClassifier(images.shape[1], (images.shape[2], images.shape[3]), int(labels.max()) + 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=config["lr"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config["steps"])
    draws = generator(config["seed"], "classifier")
    for _ in progress_bar(iterable=range(config["steps"]), desc="Training the classifier", unit="step"):
        batch = torch.randint(len(images), (config["batch_size"],), generator=draws)
        loss = cross_entropy(network(images[batch])[1], labels[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def accuracy_of(network: SmallClassifier, images: Pixels, labels: Labels) -> float:
    """Returns the share of images, uint8 [n, c, h, w], that the classifier labels correctly."""
    predicted = torch.cat([network(batch)[1].argmax(1) for batch in torch.split(images, 500)])
    return float((predicted == labels).float().mean())
