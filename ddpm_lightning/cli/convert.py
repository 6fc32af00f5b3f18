"""`convert.py`: reads weights in the format of one project and writes them in that of another."""

import logging

from omegaconf import DictConfig

from ddpm_lightning.configuration.build import make_node
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.studies.interchange.destinations import Target
from ddpm_lightning.studies.interchange.source import Source

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Reads the weights of source= and writes them to target=."""
    with reporting_user_errors():
        config = plain(cfg)
        source, target = make_node(config, "source", Source), make_node(config, "target", Target)
        pretrained = source.read(config["data"])
        if pretrained.step == 0:
            log.warning("The number of training steps is not known and is recorded as 0; source.step= sets it")
        log.info("Written to %s", relative(target.write(pretrained)))
