"""What sample.py does: a checkpoint becomes a model, the model images, the images files."""

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from tqdm import tqdm

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.errors import UserError, check_boolean, check_whole
from ddpm_lightning.training.build import ImageData, check_compile, compile_network, make, plain, with_variance
from ddpm_lightning.training.checkpoint import load_model
from ddpm_lightning.training.generate import make_images
from ddpm_lightning.training.manners import relative, told_plainly
from ddpm_lightning.training.outputs import Output
from ddpm_lightning.typing import Pixels

log = logging.getLogger(__name__)


def sample(cfg: DictConfig) -> None:
    """Writes images from a checkpoint."""
    with told_plainly():
        config = plain(cfg)
        check_options(config)
        checkpoint, data, trained = load_model(Path(config["checkpoint"]), config["use_ema"])
        model = with_variance(trained, config.get("variance"))
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        compile_network(model, config["compile"])
        images = sample_images(config, model, data)
        written = make(config["output"], Output).write(images, Path(config["run_dir"]))
        log.info("%d images of step %d: %s", len(images), checkpoint["global_step"], relative(written))


def check_options(config: dict[str, Any]) -> None:
    """Raises UserError where sample.py's own options cannot work."""
    if config["checkpoint"] is None:
        raise UserError("no checkpoint given; add checkpoint=PATH, a run keeps its own at checkpoints/last.ckpt")
    check_whole("num_images", config["num_images"], 1, "give a number of images")
    check_whole("batch_size", config["batch_size"], 1, "give a number of images to make at once")
    check_whole("seed", config["seed"], 0, "it numbers the randomness; use 0")
    check_boolean("use_ema", config["use_ema"], "leave it out for the averaged weights")
    check_compile(config["compile"])


def sample_images(config: dict[str, Any], model: DenoisingDiffusion, data: ImageData) -> Pixels:
    """num_images images, batch by batch, as bytes: [n, c, h, w]."""
    sampler = make(config["sampler"], Sampler)
    count, at_once = config["num_images"], config["batch_size"]
    images = []
    total = count * sampler.chain(model).process.T
    with tqdm(total=total, desc="Sampling", unit="image step", unit_scale=True) as bar:
        for first in range(0, count, at_once):
            numbers = range(first, min(first + at_once, count))
            images.append(make_images(model, sampler, data, numbers, seed=config["seed"], bar=bar).cpu())
    return torch.cat(images)
