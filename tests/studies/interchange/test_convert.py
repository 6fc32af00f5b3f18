"""`python convert.py`, whole: weights in from elsewhere, sampled and evaluated as ours; ours out."""

import json
from pathlib import Path

import pytest
from diffusers import DDPMPipeline
from PIL import Image

from tests.commands import command, error_of, results, train
from tests.studies.interchange.folders import random_checkpoint, small_unet_of_diffusers, write_pipeline

BETA = "variance@source.variance=beta"
FAKE = ("data=fake", "data.size=[8,8]")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return write_pipeline(tmp_path / "theirs", small_unet_of_diffusers(), num_train_timesteps=8)


def test_what_is_imported_samples_and_evaluates_as_our_own(tmp_path: Path, theirs: Path) -> None:
    checkpoint = tmp_path / "imported" / "checkpoints" / "last.ckpt"
    source = ("source=diffusers", f"source.path={theirs}", "source.averaged=true")
    command("convert", *source, f"target.path={checkpoint}", *FAKE)
    command("sample", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}/sampled", "num_images=4")
    assert Image.open(tmp_path / "sampled" / "grid.png").size[0] > 8
    command("evaluate", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}/evaluated", "metrics=[bpd]")
    assert results(tmp_path / "evaluated")["metrics"]["test/bpd_beta"]["weights"] == "ema"


def test_what_is_not_there_is_not_made_up(tmp_path: Path, theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Raw weights do not pass for averaged ones, nor the other way round."""
    for averaged, use_ema, words in (
        ("false", "true", "has no averaged weights"),
        ("true", "false", "only averaged weights"),
    ):
        checkpoint = tmp_path / averaged / "last.ckpt"
        source = ("source=diffusers", f"source.path={theirs}", f"source.averaged={averaged}")
        command("convert", *source, f"target.path={checkpoint}", *FAKE)
        options = (f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}/sampled", f"use_ema={use_ema}")
        assert words in error_of(capsys, "sample", *options)


@pytest.mark.slow
def test_a_trained_run_goes_out_with_a_card_that_says_what_it_is(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    source = f"source.path={run / 'checkpoints' / 'last.ckpt'}"
    command("convert", source, "target=diffusers", f"target.path={tmp_path / 'out'}")
    assert DDPMPipeline.from_pretrained(tmp_path / "out").unet.config.sample_size == 4
    card = (tmp_path / "out" / "README.md").read_text()
    known = results(run)
    assert known["commit"] in card
    assert "1×4×4 images; averaged (EMA) weights after 4 steps of training" in card
    for name, metric in known["metrics"].items():
        assert f"| {name} | {metric['value']:.5g} | ema weights, step 4 |" in card
    assert "| schedule | LinearSchedule | `T=8`" in card
    command("convert", source, "target=safetensors", f"target.path={tmp_path / 'plain'}")
    assert json.loads((tmp_path / "plain" / "config.json").read_text())["schedule"]["T"] == 8
    command(
        "convert",
        *("source=safetensors", f"source.path={tmp_path / 'plain'}", f"target.path={tmp_path}/again/last.ckpt"),
    )
    command("sample", f"checkpoint={tmp_path}/again/last.ckpt", f"hydra.run.dir={tmp_path}/sampled", "num_images=1")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "source.path"),
        (
            ("source=diffusers", "source.path=nowhere at all", "target.path=x", "data=cifar10"),
            "there is no folder nowhere at all",
        ),
        (("source=pesser", "source.path=nowhere.ckpt", "target.path=x"), "variance@source.variance"),
        (("source=pesser", BETA, "source.path=nowhere.ckpt", "target.path=x"), "source.averaged"),
        (
            ("source=pesser", BETA, "source.path=no.ckpt", "source.averaged=true", "target.path=x", "data=cifar10"),
            "no.ckpt cannot be read",
        ),
        (
            ("source=tensorflow", BETA, "source.path=no.npz", "target.path=x", "data=cifar10"),
            "no.npz cannot be read",
        ),
        (("source.path=nowhere.ckpt", "target.path=x"), "there is no checkpoint"),
        (("source.path=a.ckpt", "target=diffusers", "target.path=x", "target.use_ema=maybe"), "use_ema=maybe"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in error_of(capsys, "convert", *options)


def test_the_weights_need_data_of_their_shape(tmp_path: Path, theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ("source=diffusers", f"source.path={theirs}", "source.averaged=true", f"target.path={tmp_path}/x.ckpt")
    assert "say data=cifar10" in error_of(capsys, "convert", *source)
    assert "the data are 3×32×32" in error_of(capsys, "convert", *source, "data=cifar10")


def test_nothing_is_written_where_something_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = random_checkpoint(tmp_path / "a.ckpt")
    said = error_of(capsys, "convert", f"source.path={checkpoint}", f"target.path={checkpoint}")
    assert "is there already" in said
