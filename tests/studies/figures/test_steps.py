"""`figure=steps`, whole, against evaluate.py."""

from pathlib import Path

import pytest
import torch

from ddpm_lightning.diffusion.samplers import AncestralSampler, end_of
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.metrics.classifier import DataSetClassifier
from ddpm_lightning.metrics.energy import energy_distance
from ddpm_lightning.metrics.extractor import extract_all
from ddpm_lightning.metrics.reference import frechet_distance, statistics_of
from ddpm_lightning.training.checkpoint import load_model
from ddpm_lightning.training.generate import walk
from tests.commands import command, error_of, results, train
from tests.evaluation.test_evaluate import LIKE_DIGITS
from tests.studies.figures.test_plane import FEW, NO_IMAGES, TOY

HERE = ["figure=[steps]", "trainer.accelerator=cpu", "num_images=70"]
SOME = [f"figure.steps.samplers.{name}=null" for name in ("ancestral_quadratic", "ddim_eta02", "ddim_eta05", "unipc")]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), *LIKE_DIGITS, "schedule.beta_T=0.6") / "checkpoints" / "last.ckpt"


@pytest.mark.slow
def test_it_is_the_mean_over_draws_of_what_evaluate_measures(checkpoint: Path, tmp_path: Path) -> None:
    """Two draws of 70 images are the first 140 images of sample.py and evaluate.py."""
    drawn = tmp_path / "figure"
    two = ["figure.steps.calls=[4,8]", "figure.steps.num_draws=2", "batch_size=33", *SOME]
    command("figure", f"checkpoint={checkpoint}", f"hydra.run.dir={drawn}", *HERE, "extractor=digits", *two)
    found = results(drawn)["metrics"]
    samplers = ("ancestral", "ddim", "ddim_quadratic", "ddim_eta1", "dpm_solver")
    assert list(found) == [f"steps_{name}_{calls}_classifier_digits_70_train" for name in samplers for calls in (4, 8)]
    assert (drawn / "steps.png").is_file()

    made = tmp_path / "images"
    same = ["num_images=140", "sampler=ddim", "sampler.num_steps=4", f"generated={made}", "trainer.accelerator=cpu"]
    where = f"hydra.run.dir={tmp_path / 'evaluation'}"
    command("evaluate", f"checkpoint={checkpoint}", where, "metrics=[fd_digits]", *same)
    pixels = torch.cat(list(GeneratedShards(made).read(140)))
    _, data, _ = load_model(checkpoint, use_ema=True)
    real = torch.cat([data.pixels.to_bytes(batch.x_0) for batch in data.in_order("train")])
    seen = DataSetClassifier("digits")
    features = [extract_all(seen, [part]).features for part in (pixels[:70], pixels[70:], real)]
    one, other = (frechet_distance(statistics_of(part), statistics_of(features[2])) for part in features[:2])
    assert found["steps_ddim_4_classifier_digits_70_train"]["value"] == pytest.approx((one + other) / 2, rel=1e-3)
    error = found["steps_ddim_4_classifier_digits_70_train"]["standard_error_over_draws"]
    assert error == pytest.approx(abs(one - other) / 2, rel=1e-2)


def test_points_are_judged_by_their_energy_distance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, drawn = tmp_path / "run", tmp_path / "figure"
    command("train", *TOY, *NO_IMAGES, *FEW, f"hydra.run.dir={run}")
    last = run / "checkpoints" / "last.ckpt"
    two = ["figure.steps.calls=[8]", "figure.steps.num_draws=2", *SOME]
    command("figure", f"checkpoint={last}", f"hydra.run.dir={drawn}", *HERE, *two)
    found = results(drawn)["metrics"]["steps_ancestral_8_energy_distance_70_test"]
    _, data, model = load_model(last, use_ema=True)
    test = torch.cat([batch.x_0 for batch in data.in_order("test")]).flatten(1)
    draws = [end_of(walk(model, AncestralSampler(), (2, 1, 1), 70, seed=0, first=first)) for first in (0, 70)]
    expected = sum(energy_distance(x_0.flatten(1), test) for x_0 in draws) / 2
    assert found["value"] == pytest.approx(expected, rel=1e-5)
    here = [f"checkpoint={last}", f"hydra.run.dir={tmp_path}/none", *HERE, "figure.steps.calls=[8]"]
    assert "leave it out" in " ".join(error_of(capsys, "figure", *here, "extractor=digits").split())


WRONG = [
    ([], "there is no extractor; add extractor=digits"),
    (["extractor=digits", "figure.steps.calls=[0]"], "figure.steps.calls=0 "),
    (["extractor=digits", "figure.steps.calls=[9]"], "ancestral cannot walk in 9 network calls"),
    (["extractor=digits", "figure.steps.calls=[4,4]"], "names a number twice"),
    (
        ["extractor=digits", "figure.steps.calls=[5]", "sampler@figure.steps.samplers.unipc=predictor_corrector"],
        "unipc makes 2 network calls at each step, so never 5",
    ),
    (
        ["extractor=digits", "figure.steps.calls=[4]", "sampler@figure.steps.samplers.unipc=heun"],
        "unipc makes 2 network calls at each step and 1 fewer in all, so never 4",
    ),
    (["extractor=digits", "figure.steps.calls=[]"], "no samplers or no calls"),
    (["extractor=digits", "figure.steps.calls=[4]", "figure.steps.num_draws=1"], "figure.steps.num_draws=1"),
]


@pytest.mark.parametrize(("mistake", "words"), WRONG, ids=[" ".join(mistake) or "none" for mistake, _ in WRONG])
def test_mistakes_are_told(
    mistake: list[str], words: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(capsys, "figure", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", *HERE, *mistake)
    assert words in " ".join(said.split())
