"""Errors of distances and other scores of images, from the images that runs keep, by the jackknife.

A score of a set of images, such as FID, has no error of its own. Its jackknife leaves out a group of images at a time.
Images of two runs with the same number and seed start from the same noise. Leaving out the same ones of both gives the
error of the difference, in which what is common to both cancels.
"""

import logging
from collections.abc import Mapping

import torch
from lightning.fabric import Fabric

from ddpm_lightning.configuration.build import make_node
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.after_training import options_of
from ddpm_lightning.evaluation.measure import make_metrics, make_subject
from ddpm_lightning.evaluation.sample_metrics import SampleMetric
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.jackknife import without_groups
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.runtime.run_files.run_state import metrics_after_training
from ddpm_lightning.studies.runs.trained_run import Run
from ddpm_lightning.training.callbacks.checkpoints import last_checkpoint
from ddpm_lightning.training.checkpoint import read_config

log = logging.getLogger(__name__)

GROUPS = 20
"""The number of groups of images. Image i belongs to group i modulo GROUPS."""

LeftOut = torch.Tensor
"""The values of a score without each group of images, float64 [GROUPS]."""


def scores_without_groups(run: Run) -> dict[str, LeftOut]:
    """Returns the values without each group of images, by the names of the numbers. {} if the run keeps no images."""
    try:
        config = read_config(last_checkpoint(run.folder))
        if config is None or not metrics_after_training(config):
            return {}
        options = options_of({**config, "run_dir": str(run.folder)})
        subject = make_subject(options, make_node(options, "trainer", Fabric))
        metrics = [metric for metric in make_metrics(options).values() if isinstance(metric, SampleMetric)]
        return {name: values for metric in metrics for name, values in _without_groups(metric, subject).items()}
    except UserError as error:
        log.warning("%s: no errors by images, because %s", run.folder, error)
        return {}


def _without_groups(metric: SampleMetric, subject: Subject) -> Mapping[str, LeftOut]:
    generated = subject.generated_features(metric.extractor)
    n = len(generated.features)
    metric.score.check(n - -(-n // GROUPS), metric.extractor.num_features, "generated")
    real = subject.reference_features(metric.extractor) if metric.score.compares else Reference()
    values = without_groups(metric.score, generated, real, GROUPS)
    return dict(zip(metric.result_names(subject), values.T, strict=True))
