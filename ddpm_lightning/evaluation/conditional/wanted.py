"""The options of generated images besides the sampler: their classes, guidance, clipping of x̂_0, and task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ddpm_lightning.configuration.build import STATIC, UNGUIDED, make_node
from ddpm_lightning.configuration.full_keys import naming_options
from ddpm_lightning.diffusion.conditional.guidance import Guidance
from ddpm_lightning.diffusion.conditional.thresholding import Clipping
from ddpm_lightning.diffusion.restoration.task import Task
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.generated_shards import digest
from ddpm_lightning.evaluation.image_sets import Generated, ImageSet
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.restoration.task_files import TaskFiles
from ddpm_lightning.evaluation.subject import Trained
from ddpm_lightning.training.labelling import Labelling, default_labelling, in_turn

NO_TASK = {"_target_": "ddpm_lightning.evaluation.restoration.task_files.NoFiles"}
"""The task of a configuration that names none."""


@dataclass(frozen=True)
class Wanted:
    """The classes, the guidance, the clipping and the task of generated images.

    Args:
        labels: the class of each image.
        guidance: guides the model.
        clipping: how x̂_0 is clipped.
        task: what the images are drawn for.
        facts: their options, for the recipe of a folder of images and for results.json; {} by default.
    """

    labels: Labelling
    guidance: Guidance
    clipping: Clipping
    task: Task
    facts: dict[str, Any]

    @property
    def choices(self) -> dict[str, Any]:
        """The classes, the guidance, the clipping and the task as keyword arguments of `Generated`."""
        return {"labels": self.labels, "guidance": self.guidance, "clipping": self.clipping, "task": self.task}

    @property
    def suffix(self) -> str:
        """The suffix of a result's name for these images."""
        return self.labels.suffix + self.guidance.suffix + self.clipping.suffix + self.task.suffix


def check_wanted(config: dict[str, Any]) -> None:
    """Raises UserError if labels=, guidance= or clipping= is given, and nothing is generated."""
    usual = {"labels": None, "guidance": UNGUIDED, "clipping": STATIC}
    for name, node in usual.items() if config["images"] is not None else ():
        if config.get(name, node) != node:
            raise UserError(f"{name}= is for images that are generated, but images= gives some; leave one of them out")


def check_effect(metrics: Mapping[str, Metric], images: ImageSet) -> None:
    """Raises UserError if labels=, guidance= or clipping= is given, and no metric depends on generated images."""
    if isinstance(images, Generated) and images.wanted and not any(metric.generates for metric in metrics.values()):
        given = " and ".join(f"{name}=" for name in images.wanted)
        raise UserError(f"{given} would have no effect on {', '.join(metrics)}; leave {given} out")


def wanted_of(config: dict[str, Any], trained: Trained) -> Wanted:
    """Returns what labels=, guidance=, clipping= and task= ask for.

    Without labels=, classes are as frequent as in the data.

    Raises:
        UserError: the model has no such classes, cannot be guided so, nothing is clipped, or the files of the task do
            not fit the model.
    """
    usual = {"guidance": UNGUIDED, "clipping": STATIC, "task": NO_TASK}
    conditioning, config = trained.model.conditioning, {**usual, **config}
    clipping = make_node(config, "clipping", Clipping)
    with naming_options("guidance", config["guidance"] or ()):
        guidance = make_node(config, "guidance", Guidance).for_chain(trained.model.process.T)
        guidance.check(trained.model)
    if clipping.suffix and not config["sampler"].get("clip_x_0", True):
        raise UserError("sampler.clip_x_0=false clips nothing, so clipping= has no effect; leave one of them out")
    if config.get("labels") is None:
        labels = default_labelling(trained.data, conditioning, config["seed"])
    else:
        labels = in_turn(config["labels"], conditioning)
    with naming_options("task", config["task"] or ()):
        task = make_node(config, "task", TaskFiles).read(trained.data)
    changed = {"guidance": guidance.suffix, "clipping": clipping.suffix, "task": task.suffix}
    facts = {**labels.facts, **{name: config[name] for name, suffix in changed.items() if suffix}}
    if task.given:
        facts["given_sha256"] = digest(task.given)
    return Wanted(labels, guidance, clipping, task, facts)
