"""`train_classifier.py`: trains a small classifier, whose features compare generated images with a data set."""

import logging
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from ddpm_lightning.configuration.build import EvaluationData, make, plain, real_images
from ddpm_lightning.errors import UserError, check_positive, check_whole
from ddpm_lightning.metrics.classifier import SmallClassifier, describe
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import source
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.seeding import generator
from ddpm_lightning.typing import Labels, Pixels

log = logging.getLogger(__name__)


@runtime_checkable
class LabelledData(EvaluationData, Protocol):
    """A DataModule whose images have class labels."""

    def labels(self, split: str) -> Labels: ...


def run(cfg: DictConfig) -> None:
    """Trains a SmallClassifier on the training split, and writes it with its accuracy on the test split."""
    with reporting_user_errors():
        config = plain(cfg)
        check_options(config)
        data = make(config["data"])
        if not isinstance(data, LabelledData):
            raise UserError(f"{type(data).__name__} has no labels to learn; use data=digits or data=fashion_mnist")
        network = fit(config, as_bytes(data, "train"), data.labels("train"))
        accuracy = accuracy_of(network, as_bytes(data, "test"), data.labels("test"))
        path = Path(config["run_dir"]) / "classifier.safetensors"
        facts = describe(network, test_accuracy=accuracy, steps=config["steps"], seed=config["seed"], **source())
        save_file(network.state_dict(), path, metadata=facts)
        log.info("Accuracy on the test split: %.2f %%; written to %s", 100 * accuracy, relative(path))


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError if an option of train_classifier.py cannot work."""
    check_whole("steps", config["steps"], 1, "nothing would be learned; use 2000")
    check_whole("batch_size", config["batch_size"], 1, "a batch holds at least one image; use 128")
    check_positive("lr", config["lr"], "nothing would be learned; use 0.002")
    check_whole("seed", config["seed"], 0, "it numbers the randomness; use 0")


def as_bytes(data: LabelledData, split: str) -> Pixels:
    """Returns all images of a split, uint8 [n, c, h, w]."""
    return torch.cat(list(real_images(data, split)))


def fit(config: dict[str, Any], images: Pixels, labels: Labels) -> SmallClassifier:
    """Trains a classifier with cross-entropy and Adam; the learning rate falls to 0 along a cosine."""
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
    """Returns the share of images that the classifier labels correctly."""
    predicted = torch.cat([network(batch)[1].argmax(1) for batch in torch.split(images, 500)])
    return float((predicted == labels).float().mean())
