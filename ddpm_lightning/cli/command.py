"""The commands: Hydra composes and checks a configuration, then the command's own module gets it.

Those modules bring torch and Lightning, so each is imported only when its command runs: `--help` does without them.
A function here must be found by its name, because a launcher pickles it for other processes.
"""

import io
import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from ddpm_lightning.configuration.checked_loader import guarded
from ddpm_lightning.configuration.groups import CONF
from ddpm_lightning.launching.failures import telling_failures
from ddpm_lightning.launching.sweeper import list_failures_at_the_end


@telling_failures
def train(cfg: DictConfig) -> float | None:
    """Trains a model, or resumes its training. Returns the value of objective=, for a sweeper."""
    from ddpm_lightning.cli import train

    return train.run(cfg)


@telling_failures
def sample(cfg: DictConfig) -> None:
    """Draws images from a checkpoint."""
    from ddpm_lightning.cli import sample

    sample.run(cfg)


@telling_failures
def evaluate(cfg: DictConfig) -> None:
    """Measures a checkpoint, or images."""
    from ddpm_lightning.cli import evaluate

    evaluate.run(cfg)


@telling_failures
def figure(cfg: DictConfig) -> None:
    """Draws the paper's figures of a checkpoint."""
    from ddpm_lightning.cli import figure

    figure.run(cfg)


@telling_failures
def report(cfg: DictConfig) -> None:
    """Makes the table and the page of a sweep."""
    from ddpm_lightning.cli import report

    report.run(cfg)


@telling_failures
def convert(cfg: DictConfig) -> None:
    """Carries weights in from other projects, and out to them."""
    from ddpm_lightning.cli import convert

    convert.run(cfg)


@telling_failures
def prepare(cfg: DictConfig) -> None:
    """Writes images as shards."""
    from ddpm_lightning.cli import prepare

    prepare.run(cfg)


@telling_failures
def train_classifier(cfg: DictConfig) -> None:
    """Trains the small network on whose features samples are compared."""
    from ddpm_lightning.cli import train_classifier

    train_classifier.run(cfg)


TASKS: dict[str, Any] = {
    task.__name__: task for task in (train, sample, evaluate, figure, report, convert, prepare, train_classifier)
}


def run_command(name: str) -> None:
    """Runs a command on the options of the command line, which override conf/NAME.yaml."""
    write_what_streams_can()
    list_failures_at_the_end()
    guarded(hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(TASKS[name]))()


def write_what_streams_can() -> None:
    """Has stdout and stderr write characters that their encoding lacks as \\xb1, where they would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
