"""Times the training step with each library's own defaults, as its users run it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import nn
from torchvision.transforms.functional import to_pil_image

from benchmarks.benchmark import Benchmark
from benchmarks.device import device
from benchmarks.findings import Findings, compare
from benchmarks.measure import Side, take_turns
from benchmarks.sides.ours import NAME, TrainOurs
from benchmarks.sides.peers import DIFFUSERS, LUCIDRAINS, lucidrains, network_of_diffusers, network_of_lucidrains
from benchmarks.sides.shape import PAPER, Shape
from benchmarks.sides.torchvision_data import endless, torchvision_loader
from ddpm_lightning.runtime.devices import choose_accelerator, native_precision

IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class TrainingDefaults(Benchmark):
    """Times a training step with all defaults. Only the batch and the widths of the networks are set, to equal work.

    Ours has the precision that `trainer.precision=auto` chooses. The peers have float32 and their own data, EMA, Adam.
    """

    batch_size: int = 16
    shape: Shape = PAPER

    question = "How long does a training step take, each with its defaults, as its users run it?"

    def measure(self) -> Findings:
        precision = native_precision(choose_accelerator("auto"))
        with ExitStack() as stack:
            sides = {
                NAME: TrainOurs()(self.shape, self.batch_size, precision),
                DIFFUSERS: documented_loop(self.shape, self.batch_size),
                LUCIDRAINS: stack.enter_context(trainer_of_lucidrains(self.shape, self.batch_size)),
            }
            found = take_turns(sides, self.rounds)
        what = f"training step with defaults (ours: {precision}), batch {self.batch_size}"
        peers = (DIFFUSERS, LUCIDRAINS)
        return Findings([compare(what, (NAME, peer), found[NAME], found[peer], target=2.0) for peer in peers])


def documented_loop(shape: Shape, batch_size: int) -> Side:
    """Returns a step of diffusers' tutorial on unconditional training: float32, AdamW, cosine rate, DataLoader."""
    network = network_of_diffusers(shape).to(device()).train()
    scheduler, optimizer = DDPMScheduler(num_train_timesteps=1000), torch.optim.AdamW(network.parameters(), lr=1e-4)
    rate = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=500, num_training_steps=100_000)
    pixels = torch.randint(0, 256, (IMAGES, 3, shape.side, shape.side), dtype=torch.uint8)
    batches = endless(torchvision_loader(pixels, batch_size, num_workers=0))

    def step() -> None:
        x_0 = next(batches).to(device())
        eps = torch.randn(x_0.shape, device=x_0.device)
        t = torch.randint(0, scheduler.config.num_train_timesteps, (batch_size,), device=x_0.device)
        F.mse_loss(network(scheduler.add_noise(x_0, eps, t), t, return_dict=False)[0], eps).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()

    return step


@contextmanager
def silent() -> Iterator[None]:
    """Discards what a library prints inside the block."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), redirect_stdout(nowhere):
        yield


@contextmanager
def trainer_of_lucidrains(shape: Shape, batch_size: int) -> Iterator[Side]:
    """Yields a step of its own Trainer on a folder of images. FID is off, because it needs a download."""
    with TemporaryDirectory() as folder, silent():
        for i, image in enumerate(torch.rand(IMAGES, 3, shape.side, shape.side)):
            to_pil_image(image).save(Path(folder) / f"{i:03}.png")
        package = lucidrains()
        diffusion = package.GaussianDiffusion(network_of_lucidrains(shape), image_size=shape.side)
        options = {"train_batch_size": batch_size, "train_num_steps": 0, "calculate_fid": False}
        trainer = package.Trainer(diffusion, folder, results_folder=f"{folder}/results", **options)

        def step() -> None:
            trainer.train_num_steps += 1
            trainer.train()

        yield step
