"""No measurement depends on dropout: whatever a command measures, it asks the network in evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import nn

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance
from ddpm_lightning.networks.dropout import Dropout
from ddpm_lightning.training.generate import evaluating
from tests.commands import SMALL, command
from tests.studies.figures.test_plane import NO_IMAGES, TOY
from tests.training.test_conditional import DIGITS

FEW = ["trainer.max_steps=2", "network.dropout=0.5", "data.num_images=70", "data.size=[8,8]", "data.eval_batch_size=70"]
QUALITY = ["quality=digits", "callbacks.quality.num_images=70", "callbacks.quality.every_n_steps=2"]
NETWORK = [option for option in SMALL if option.startswith("network.")]
CPU = ["trainer.accelerator=cpu"]


@contextmanager
def asked(script: str, *options: str) -> Iterator[set[tuple[bool, bool]]]:
    """Runs a command. Yields whether dropout was in training mode, beside whether gradients were on, each time."""
    seen: set[tuple[bool, bool]] = set()
    forward = Dropout.forward

    def watched(self: Dropout, x: torch.Tensor) -> torch.Tensor:
        seen.add((self.training, torch.is_grad_enabled()))
        return forward(self, x)

    with patch.object(Dropout, "forward", watched):
        command(script, *options)
    yield seen


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of images. In training, dropout is on in the training steps, which alone need gradients."""
    folder = tmp_path_factory.mktemp("images")
    with asked("train", f"hydra.run.dir={folder}", *SMALL, *FEW, *QUALITY, "metrics=[bpd_estimate]") as seen:
        assert seen == {(True, True), (False, False)}
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of digits by their class."""
    folder = tmp_path_factory.mktemp("classes")
    command("train", f"hydra.run.dir={folder}", *DIGITS, "conditioning=class", "trainer.max_steps=1", *FEW[1:2])
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of points."""
    folder = tmp_path_factory.mktemp("points")
    options = [*NO_IMAGES, "callbacks.bound.num_images=8", "module.test_strata=2", "network=tiny", *NETWORK]
    options += ["network.multipliers=[1]", "network.dropout=0.5"]
    command("train", *TOY[1:], *options, *CPU, f"hydra.run.dir={folder}")
    return folder / "checkpoints" / "last.ckpt"


def where(checkpoint: Path, folder: Path) -> list[str]:
    """The options that a command has here, one of which swaps the variance."""
    return [f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", "variance=beta_tilde"]


def test_sample(images: Path, tmp_path: Path) -> None:
    with asked("sample", *where(images, tmp_path), "num_images=2", "sampler=ddim", "sampler.num_steps=2") as seen:
        assert {training for training, _ in seen} == {False}


def test_evaluate(images: Path, tmp_path: Path) -> None:
    metrics = ["metrics=[bpd,bpd_estimate,bpd_ode,bpd_ode_uniform,fd_digits,score_digits,prc_digits]"]
    few = ["num_images=70", "metrics.bpd_ode.num_steps=2", "metrics.bpd_ode_uniform.num_steps=2"]
    with asked("evaluate", *where(images, tmp_path), *metrics, *few, *CPU) as seen:
        assert {training for training, _ in seen} == {False}


FIGURES = {
    "progressive_generation": ["num_moments=2"],
    "lossy_coding": ["t=[4]"],
    "shared_latents": ["t=[4]", "num_latents=4"],
    "interpolation": ["t=[4]", "shown_t=4", "num_pairs=8"],
    "nearest_neighbours": ["num_rows=2"],
    "probability_flow": ["steps=[2]", "num_images=6"],
    "restoration": ["num_images=5", "num_rows=2", "repeats=1"],
    "schedules": ["num_images=8"],
    "timesteps": ["num_pairs=2", "batch_size=4"],
}
"""The figures of images that need no extractor, with options that make it quick."""


def test_every_figure_of_images(images: Path, tmp_path: Path) -> None:
    few = [f"figure.{name}.{option}" for name, options in FIGURES.items() for option in options]
    drawn = f"figure=[{','.join(FIGURES)}]"
    with asked("figure", *where(images, tmp_path), drawn, *few, "num_images=10", *CPU) as seen:
        assert {training for training, _ in seen} == {False}


def test_the_figure_that_needs_an_extractor(images: Path, tmp_path: Path) -> None:
    few = ["figure=[steps]", "figure.steps.calls=[2]", "figure.steps.num_draws=2", "extractor=digits"]
    with asked("figure", *where(images, tmp_path), *few, "num_images=70", *CPU) as seen:
        assert {training for training, _ in seen} == {False}


def test_figures_of_guided_classes(classes: Path, tmp_path: Path) -> None:
    few = ["figure=[guidance]", "figure.guidance.scales=[3]"]
    with asked("figure", *where(classes, tmp_path), *few, "extractor=digits", "num_images=70", *CPU) as seen:
        assert {training for training, _ in seen} == {False}


def test_every_figure_has_been_looked_at(root: Path) -> None:
    assert {*FIGURES, "steps", "plane", "ema_length", "guidance"} == {
        path.stem for path in (root / "conf" / "figure").glob("*.yaml")
    }


@pytest.mark.parametrize("sampler", [[], ["sampler=ddim", "sampler.num_steps=3"]], ids=["all_steps", "some_steps"])
def test_the_figure_of_points(points: Path, tmp_path: Path, sampler: list[str]) -> None:
    few = ["figure=[plane]", "figure.plane.t=[4]", "num_images=20", *sampler, *CPU]
    with asked("figure", *where(points, tmp_path), *few) as seen:
        assert {training for training, _ in seen} == {False}


class Frozen(nn.Module):
    """A network whose normalisation stays in evaluation mode while the rest trains."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise, self.drop = nn.BatchNorm2d(1).eval(), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.drop(self.normalise(x))
        return out


@pytest.mark.parametrize("training", [True, False])
def test_every_part_of_a_network_gets_its_own_mode_back(training: bool) -> None:
    """Also those of a chain of some of the steps, and with another variance."""
    fine = DenoisingDiffusion(Frozen(), GaussianDiffusion(LinearSchedule(T=8)), Epsilon(), BetaVariance())
    fine.network.drop.train(training)  # type: ignore[union-attr,operator]
    before = {name: module.training for name, module in fine.network.named_modules()}
    for model in (fine, fine.coarsen([2, 8]), fine.with_variance(BetaTildeVariance())):
        with evaluating(model):
            assert not any(module.training for module in model.modules())
        assert {name: module.training for name, module in fine.network.named_modules()} == before


def test_another_variance_keeps_the_chain_and_the_mode() -> None:
    fine = DenoisingDiffusion(Frozen(), GaussianDiffusion(LinearSchedule(T=8)), Epsilon(), BetaVariance()).eval()
    swapped = fine.coarsen([2, 5, 8]).with_variance(BetaTildeVariance())
    assert swapped.variance == swapped.coarsen([1, 3]).variance == BetaTildeVariance()
    assert swapped.steps.tolist() == [0, 2, 5, 8]
    assert not swapped.training
    assert fine.variance == BetaVariance()
