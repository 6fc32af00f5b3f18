"""Models of classes in and out: diffusers' class_embedding, and our own formats."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel

from ddpm_lightning.diffusion.conditional.conditioning import NO_CLASS, ClassConditioning
from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.destinations import CheckpointTarget, DiffusersTarget, SafetensorsTarget
from ddpm_lightning.studies.interchange.diffusers_source import DiffusersSource
from ddpm_lightning.studies.interchange.ours import CheckpointSource, SafetensorsSource
from ddpm_lightning.studies.interchange.pretrained import Pretrained, node
from ddpm_lightning.training.checkpoint import load_model
from tests.networks.small import SMALL, randomise
from tests.peers import unet_of_diffusers
from tests.studies.interchange.folders import parts, write_pipeline

DIGITS = {"_target_": "ddpm_lightning.data.digits.DigitsDataModule"}
NAMES = list("0123456789")
X, T, Y = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 500, 999]), torch.tensor([3, 7, 0, 9])


def checkpoint(path: Path, dropout: float = 0.2) -> Path:
    network = UNet(1, 1, (8, 8), **SMALL, num_classes=10)  # type: ignore[arg-type]
    randomise(network)
    with torch.no_grad():
        network.get_parameter("time.classes.weight").normal_()
    made = parts(data=DIGITS, conditioning=node(ClassConditioning, dropout=dropout, class_names=NAMES))
    return CheckpointTarget(str(path)).write(Pretrained(made, None, network.state_dict(), step=5))


@pytest.mark.parametrize(
    ("target", "source"), [(SafetensorsTarget, SafetensorsSource), (DiffusersTarget, DiffusersSource)]
)
def test_a_model_of_classes_survives_the_way_out_and_in(target: type, source: type, tmp_path: Path) -> None:
    before = CheckpointSource(str(checkpoint(tmp_path / "last.ckpt"))).read(None)
    folder = target(str(tmp_path / "out")).write(before)
    after = source(str(folder)).read(DIGITS)
    assert after.weights(True).keys() == before.weights(True).keys()
    assert all(torch.equal(weight, after.weights(True)[name]) for name, weight in before.weights(True).items())
    assert after.parts["conditioning"]["class_names"] == NAMES
    _, _, model = load_model(CheckpointTarget(str(tmp_path / "again.ckpt")).write(after), True)
    assert list(model.conditioning.class_names) == NAMES
    card = (folder / "README.md").read_text()
    assert "unconditional-image-generation" not in card
    assert "ClassConditioning" in card


def test_diffusers_computes_the_same_for_every_class(tmp_path: Path) -> None:
    _, _, model = load_model(checkpoint(tmp_path / "last.ckpt"), True)
    folder = DiffusersTarget(str(tmp_path / "out")).write(CheckpointSource(str(tmp_path / "last.ckpt")).read(None))
    theirs = UNet2DModel.from_pretrained(folder, subfolder="unet").eval()
    with torch.no_grad():
        expected = theirs(X, T, class_labels=Y).sample
        torch.testing.assert_close(model.network(X, T, Y), expected, rtol=1e-5, atol=1e-5)
        nothing = theirs(X, T, class_labels=torch.full((4,), 10)).sample
        torch.testing.assert_close(model.network(X, T), nothing, rtol=1e-5, atol=1e-5)
    assert (expected - nothing).abs().max() > 1e-3


def unet(rows: int) -> UNet2DModel:
    config = {**unet_of_diffusers(8, [16, 32], {1}, blocks=1, groups=8).config}
    options = {name: value for name, value in config.items() if not name.startswith("_")}
    made = UNet2DModel(**{**options, "in_channels": 1, "out_channels": 1, "num_class_embeds": rows}).eval()
    randomise(made)
    torch.nn.init.normal_(made.class_embedding.weight)
    return made


@pytest.mark.parametrize("rows", [10, 11])
def test_diffusers_own_folder_is_read(rows: int, tmp_path: Path) -> None:
    """With a row for no class, or without: then p(x) is not known, and guidance refuses."""
    theirs = unet(rows)
    found = DiffusersSource(str(write_pipeline(tmp_path / "theirs", theirs)), averaged=True).read(DIGITS)
    _, _, model = load_model(CheckpointTarget(str(tmp_path / "ours.ckpt")).write(found), True)
    with torch.no_grad():
        expected = theirs(X, T, class_labels=Y).sample
        torch.testing.assert_close(model.given(Y)(X, T + 1).f, expected, rtol=1e-5, atol=1e-5)
        if rows == 11:
            no_class = torch.full((4,), NO_CLASS)
            expected = theirs(X, T, class_labels=torch.full((4,), 10)).sample
            torch.testing.assert_close(model.given(no_class)(X, T + 1).f, expected, rtol=1e-5, atol=1e-5)
            model.conditioning.check_both("guidance=cfg")
    if rows == 10:
        with pytest.raises(UserError, match="knows p"):
            model.conditioning.check_both("guidance=cfg")


def test_rows_that_are_not_the_classes_of_the_data(tmp_path: Path) -> None:
    theirs = unet(7)
    folder = write_pipeline(tmp_path / "theirs", theirs)
    with pytest.raises(UserError, match="num_class_embeds=7, and the data have 10 classes"):
        DiffusersSource(str(folder), averaged=True).read(DIGITS)
