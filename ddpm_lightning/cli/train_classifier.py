"""`train_classifier.py`: trains a small classifier, whose features compare generated images with a data set."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from safetensors.torch import save_file

from ddpm_lightning.configuration.build import make_node
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.errors import UserError, check_positive, check_whole
from ddpm_lightning.metrics.classifier import describe
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.recipe import check_recipe, write_recipe
from ddpm_lightning.runtime.results import source
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.studies.classifier_training import LabelledData, accuracy_of, as_bytes, fit

log = logging.getLogger(__name__)

MADE_OF = ("data", "steps", "batch_size", "lr", "seed")
"""The options that a classifier follows from."""


def run(cfg: DictConfig) -> None:
    """Trains a SmallClassifier on the training split, and writes it with its accuracy on the test split."""
    with reporting_user_errors():
        config = plain(cfg)
        check_options(config)
        data = make_node(config, "data")
        if not isinstance(data, LabelledData):
            raise UserError(f"{type(data).__name__} has no labels to learn; use data=digits or data=fashion_mnist")
        path, recipe = Path(config["run_dir"]) / "classifier.safetensors", {key: config[key] for key in MADE_OF}
        check_recipe(path.parent, recipe, "hydra.run.dir=", "a classifier", holds_files=path.exists())
        if path.exists():
            log.info("This classifier is finished: %s", relative(path))
            return
        network = fit(config, as_bytes(data, "train"), data.labels("train"))
        accuracy = accuracy_of(network, as_bytes(data, "test"), data.labels("test"))
        facts = describe(network, test_accuracy=accuracy, steps=config["steps"], seed=config["seed"], **source())
        save_file(network.state_dict(), path, metadata=facts)
        write_recipe(path.parent, recipe)
        log.info("Accuracy on the test split: %.2f %%; written to %s", 100 * accuracy, relative(path))


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError if an option of train_classifier.py cannot work."""
    check_whole("steps", config["steps"], 1, "nothing would be learned; use 2000")
    check_whole("batch_size", config["batch_size"], 1, "a batch holds at least one image; use 128")
    check_positive("lr", config["lr"], "nothing would be learned; use 0.002")
    check_whole("seed", config["seed"], 0, "it numbers the randomness; use 0")
