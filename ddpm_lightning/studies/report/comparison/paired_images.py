"""Errors of distances and other scores of images, from the images that runs keep, by the jackknife.

A score of a set of images, such as FID, has no error of its own. Its jackknife leaves out a group of images at a time.
Images of two runs with the same number and seed start from the same noise. Leaving out the same ones of both gives the
error of the difference, in which what is common to both cancels.

References:
    Efron & Stein (1981), "The Jackknife Estimate of Variance".
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
from ddpm_lightning.metrics.extractor import Extracted
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
    groups = torch.arange(len(generated.features)) % GROUPS
    metric.score.check(int((groups != 0).sum()), metric.extractor.num_features, "generated")
    real = subject.reference_features(metric.extractor) if metric.score.compares else Reference()
    rows = [[each.value for each in metric.score(_kept(generated, groups != group), real)] for group in range(GROUPS)]
    return dict(zip(metric.result_names(subject), torch.tensor(rows, dtype=torch.float64).T, strict=True))


def _kept(generated: Extracted, keep: torch.Tensor) -> Extracted:
    return Extracted(*(None if part is None else part[keep] for part in generated))


def standard_error(values: LeftOut) -> float:
    """Returns the jackknife's standard error, √((g − 1)/g · Σ (v_i − v̄)²).

    Args:
        values: A number without each of g groups, or a difference of two such numbers, [g].
    """
    g = len(values)
    return float(((g - 1) / g * (values - values.mean()).square().sum()).sqrt())
