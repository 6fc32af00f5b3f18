"""`figure=guidance`, whole, against evaluate.py."""

from pathlib import Path

import pytest

from tests.cli.test_sample_classes import checkpoint  # noqa: F401  # a fixture
from tests.commands import command, error_of, results
from tests.training.test_conditional import DIGITS

HERE = ["figure=[guidance]", "trainer.accelerator=cpu", "sampler=ddim", "sampler.num_steps=2", "batch_size=500"]
LATE = "figure.guidance.guidances.interval.t_low=9"


def test_its_numbers_are_those_of_evaluate(checkpoint: Path, tmp_path: Path) -> None:  # noqa: F811
    """A mean over two draws of 70 images, which are the first 140 of evaluate.py."""
    two = ["figure.guidance.scales=[1,3]", f"cache={tmp_path}"]
    of = [f"checkpoint={checkpoint}", "extractor=digits"]
    command("figure", *of, f"hydra.run.dir={tmp_path / 'drawn'}", *HERE, "num_images=70", *two)
    found = results(tmp_path / "drawn")["metrics"]
    values = {name: record["value"] for name, record in found.items()}
    assert (tmp_path / "drawn" / "guidance.png").is_file()
    assert len(found) == 2 * 2 * 4
    for quantity in ("distance_70_train", "precision_70_train", "recall_70_train", "agreement_70"):
        assert values[f"guidance_cfg_1_{quantity}_ddim2"] == values[f"guidance_interval_1_{quantity}_ddim2"]
    assert values["guidance_cfg_3_distance_70_train_ddim2"] != values["guidance_interval_3_distance_70_train_ddim2"]
    options = [*HERE[1:], "num_images=140", "guidance=cfg", "guidance.scale=3", "metrics=[class_accuracy]"]
    command("evaluate", of[0], f"hydra.run.dir={tmp_path / 'measured'}", f"cache={tmp_path}", *options)
    (measured,) = results(tmp_path / "measured")["metrics"].values()
    assert values["guidance_cfg_3_agreement_70_ddim2"] == pytest.approx(measured["value"], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", "there is no extractor; add extractor=digits"),
        ("extractor=digits figure.guidance.scales=[]", "no kinds or no scales"),
        ("extractor=digits figure.guidance.scales=[-1]", "figure.guidance.scales=-1"),
        (f"extractor=digits figure.guidance.guidances.cfg=null {LATE}", f"{LATE} exceeds T=8"),
        ("extractor=digits guidance=cfg", "guidance= has no effect; leave it out"),
    ],
)
def test_what_it_cannot_compare(
    options: str,
    words: str,
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", *HERE, "num_images=70"]
    assert words in error_of(capsys, "figure", *given, *options.split())


def test_a_kind_that_the_model_cannot_have_costs_no_other(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And the names of its results say which sampler and which weights they are of."""
    of = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", "extractor=digits", f"cache={tmp_path}"]
    late = ["figure.guidance.scales=[2]", LATE, "use_ema=false"]
    command("figure", *of, *HERE, *late, "sampler.num_steps=1", "num_images=70")
    names = [f"guidance_cfg_2_{name}_70_train_ddim1_raw" for name in ("distance", "precision", "recall")]
    assert list(results(tmp_path)["metrics"]) == [*names, "guidance_cfg_2_agreement_70_ddim1_raw"]
    said = capsys.readouterr()
    words = f"figure.guidance.guidances.interval is left out: {LATE} exceeds T=8"
    assert words in " ".join((said.out + said.err).split())


def test_a_model_without_classes_has_no_guidance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("train", f"hydra.run.dir={tmp_path}", *DIGITS, "trainer.max_steps=1")
    given = [f"checkpoint={tmp_path}/checkpoints/last.ckpt", "extractor=digits", *HERE, "num_images=70"]
    assert "this model has none" in error_of(capsys, "figure", f"hydra.run.dir={tmp_path}/drawn", *given)
