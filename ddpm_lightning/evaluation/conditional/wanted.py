"""What is asked of generated images besides the sampler: their classes (labels=) and their guidance (guidance=)."""

from dataclasses import dataclass
from typing import Any

from ddpm_lightning.configuration.build import UNGUIDED, make_node
from ddpm_lightning.diffusion.conditional.guidance import Guidance
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.subject import Trained
from ddpm_lightning.training.labelling import Labelling, default_labelling, in_turn


@dataclass(frozen=True)
class Wanted:
    """The classes and the guidance of generated images.

    Args:
        labels: the class of each image.
        guidance: guides the model.
        facts: their options, for the recipe of a folder of images and for results.json; {} by default.
    """

    labels: Labelling
    guidance: Guidance
    facts: dict[str, Any]

    @property
    def suffix(self) -> str:
        """The end of the names of results on these images."""
        return self.labels.suffix + self.guidance.suffix


def check_wanted(config: dict[str, Any]) -> None:
    """Raises UserError if labels= is given, and nothing is generated."""
    if config["images"] is not None and config.get("labels") is not None:
        raise UserError("labels= chooses what is generated, but images= gives existing ones; leave one of them out")


def wanted_of(config: dict[str, Any], trained: Trained) -> Wanted:
    """Returns what the options labels= and guidance= ask for. Without labels=, classes are as frequent as in the data.

    Raises:
        UserError: the model has no such classes, or cannot be guided so.
    """
    conditioning, guidance = (
        trained.model.conditioning,
        make_node({"guidance": UNGUIDED, **config}, "guidance", Guidance),
    )
    guidance.check(trained.model)
    if config.get("labels") is None:
        labels = default_labelling(trained.data, conditioning, config["seed"])
    else:
        labels = in_turn(config["labels"], conditioning)
    return Wanted(labels, guidance, {**labels.facts, **({"guidance": config["guidance"]} if guidance.suffix else {})})
