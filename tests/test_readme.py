"""What the README shows works: the classes that one adds, and the links."""

import re
from pathlib import Path
from typing import Any

import torch

from ddpm_lightning.data.batches import ImageDataset, InMemoryImages, Plan
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.diffusion import losses, schedules
from ddpm_lightning.diffusion.losses import Loss
from ddpm_lightning.diffusion.parameterizations import Epsilon, V
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.variances import BetaVariance
from tests.conftest import ROOT
from tests.exact import exact_model

SHOWN = "".join((ROOT / page).read_text() for page in ("README.md", "docs/howto/own_parts.md"))


def shown_class(name: str, scope: dict[str, Any]) -> Any:
    """The class of this name in the Python snippets of README and pages, defined where it says it belongs."""
    snippet = next(code for code in re.findall(r"```python\n(.*?)```", SHOWN, re.DOTALL) if f"class {name}" in code)
    exec(snippet, scope)
    return scope[name]


def test_the_schedule_shown_is_one() -> None:
    schedule = shown_class("SigmoidSchedule", dict(vars(schedules)))(T=100)
    assert isinstance(schedule, schedules.Schedule)
    assert (GaussianDiffusion(schedule).alpha_bar.diff() < 0).all()


def test_the_loss_shown_is_one_and_is_what_it_says() -> None:
    """A weight of (x_0 − x̂_0)² gives the same whatever the network predicts; this one is L_simple of v."""
    loss = shown_class("SNRPlusOne", dict(vars(losses)))()
    assert isinstance(loss, Loss)
    process = GaussianDiffusion(schedules.LinearSchedule())
    x_0, eps, t = torch.rand(1000, 1).double(), torch.randn(1000, 1).double(), torch.arange(1, 1001)
    of_epsilon, of_v = (exact_model(process, p, BetaVariance(), s=0.5) for p in (Epsilon(), V()))
    assert torch.allclose(loss(of_epsilon, x_0, t, eps), loss(of_v, x_0, t, eps), rtol=1e-6)
    assert torch.allclose(loss(of_v, x_0, t, eps), losses.Simple()(of_v, x_0, t, eps), rtol=1e-6)


def test_the_data_set_shown_is_one() -> None:
    scope = {"ImageDataModule": ImageDataModule, "ImageDataset": ImageDataset, "InMemoryImages": InMemoryImages}
    data = shown_class("StripesDataModule", {**scope, "PixelRange": PixelRange, "torch": torch})(batch_size=4)
    images = data.load("train")[Plan(torch.arange(8), torch.zeros(8, dtype=torch.bool))].images
    assert images.shape == (8, data.channels, *data.size)
    assert images.sum().item() == 64


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "experiments").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert link.startswith("http") or (Path(page).parent / link).exists(), f"{page}: {link}"
