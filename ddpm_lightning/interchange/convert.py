"""What convert.py does: weights in from one project, out to another."""

import logging

from omegaconf import DictConfig

from ddpm_lightning.interchange.source import Source
from ddpm_lightning.interchange.targets import Target
from ddpm_lightning.training.build import make, plain
from ddpm_lightning.training.manners import relative, told_plainly

log = logging.getLogger(__name__)


def convert(cfg: DictConfig) -> None:
    """Reads the source and writes the target."""
    with told_plainly():
        config = plain(cfg)
        source, target = make(config["source"], Source), make(config["target"], Target)
        pretrained = source.read(config["data"])
        if pretrained.step == 0:
            log.warning("How long they were trained is not known, and will be told as step 0; source.step= says it")
        log.info("Written to %s", relative(target.write(pretrained)))
