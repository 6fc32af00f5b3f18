"""Figures of models of classes: those that decode p(x) say what they cannot follow, the others follow it."""

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric

from ddpm_lightning.data.fake import FakeDataModule
from ddpm_lightning.diffusion.conditional.classifier_free import ClassifierFreeGuidance
from ddpm_lightning.diffusion.samplers import DDIMSampler, end_of
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.training.checkpoint import CONFIG, read_checkpoint
from ddpm_lightning.training.labelling import LabelsInTurn
from tests.cli.test_sample_classes import checkpoint  # noqa: F401  # a fixture
from tests.commands import error_of
from tests.diffusion.conditional.test_conditioning import best
from tests.diffusion.conditional.test_guidance import PROCESS


@pytest.mark.parametrize("name", ["lossy_coding", "interpolation", "probability_flow", "schedules", "timesteps"])
def test_what_does_not_depend_on_guidance_refuses_it(
    name: str,
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", f"figure=[{name}]", "trainer.accelerator=cpu"]
    assert f"guidance= would have no effect on {name}" in error_of(capsys, "figure", *given, "guidance=cfg")


def test_what_decodes_without_classes_needs_a_model_that_knows_them_all(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = read_checkpoint(checkpoint)
    found[CONFIG]["conditioning"]["dropout"] = 0
    torch.save(found, tmp_path / "certain.ckpt")
    given = [f"checkpoint={tmp_path}/certain.ckpt", f"hydra.run.dir={tmp_path}/drawn", "trainer.accelerator=cpu"]
    said = error_of(capsys, "figure", *given, "figure=[lossy_coding,interpolation,probability_flow]")
    for name in ("lossy_coding", "interpolation", "probability_flow"):
        words = "needs p(x) beside p(x | y), and this model was trained with conditioning.dropout=0"
        assert f"{name} is left out: {name} {words}" in " ".join(said.split())


def test_latents_are_decoded_by_the_model_of_their_images(tmp_path: Path) -> None:
    """DDIM draws no noise, so the whole way from x_T is sample.py's image of the class, guided."""
    images = Generated(
        model=best(PROCESS),
        data=FakeDataModule(channels=2, size=(1, 1), num_images=4),
        sampler=DDIMSampler(),
        shards=GeneratedShards(tmp_path),
        recipe={},
        n=5,
        batch_size=2,
        seed=0,
        suffix="",
        labels=LabelsInTurn((2, 0, 1)),
        guidance=ClassifierFreeGuidance(3.0),
    )
    here = Chain(Subject(Fabric(accelerator="cpu", devices=1), tmp_path, 0, images, "train", tmp_path), images)
    numbers = range(5)
    x_T = here.start(here.noise(numbers, "image"))
    decoded = here.decode(x_T, PROCESS.T, numbers, "test", owners=numbers)
    torch.testing.assert_close(decoded, end_of(here.whole(numbers)))
    assert not torch.allclose(decoded, here.decode(x_T, PROCESS.T, numbers, "test"), atol=1e-2)
