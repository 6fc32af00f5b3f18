"""What convert.py does: weights in from one project, out to another."""

import logging

from omegaconf import DictConfig

from ddpm_lightning.configuration.build import make, plain
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.studies.interchange.destinations import Target
from ddpm_lightning.studies.interchange.source import Source

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Reads the source and writes the target."""
    with reporting_user_errors():
        config = plain(cfg)
        source, target = make(config["source"], Source), make(config["target"], Target)
        pretrained = source.read(config["data"])
        if pretrained.step == 0:
            log.warning("How long they were trained is not known, and will be told as step 0; source.step= says it")
        log.info("Written to %s", relative(target.write(pretrained)))
