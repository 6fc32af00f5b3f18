"""Mistakes of the user, each answered in one clear sentence and without a traceback."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.commands import SMALL, WITH_PLOTS, command, error_of, slow, train
from tests.conftest import ROOT

WITHOUT_DATA = [override for override in SMALL if not override.startswith("data")]


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("schedul=linear", "schedul is no option of this command; did you mean schedule or lr_schedule?"),
        ("schedule=lnear", "schedule=lnear is no option; did you mean linear?"),
        ("schedule.beta_7=1", "did you mean schedule.beta_T or schedule.beta_1?"),
        ("schedule.beta_T=1.2", "schedule.beta_T=1.2 lies outside (0, 1)"),
        ("data.batch_size=17", "data.batch_size=17 exceeds the 16 training images"),
        ("loss=hybrid", "variance=beta is fixed"),
        ("variance=learned", "variance=learned cannot be trained by a squared error"),
        ("data.size=[5,4]", "images of 5×4 pixels do not divide by 2"),
        ("network.channels=6", "network.channels=6"),
        ("sampler=ddim sampler.num_steps=50", "sampler.num_steps=50 lies outside 1..8"),
        ("trainer.precision=bf17", "trainer.precision=bf17 is none of auto, 32-true, bf16-mixed"),
        ("+trainer.limit_train_batches=2", "trainer.limit_train_batches has no effect here; training counts steps"),
        ("+trainer.nonsense=2", "nonsense"),
        ("trainer.strategy=fsdp", "trainer.strategy=fsdp divides the weights among the processes"),
        (
            "++trainer.strategy={_target_:lightning.pytorch.strategies.ModelParallelStrategy}",
            "use trainer=ddp, and to save memory network.activation_checkpointing=true",
        ),
        ("seed=null", "seed=None is not a whole number"),
        ("schedule=logsnr_linear schedule.log_snr_1=40", "one of them not inside (0, 1)"),
        ("timesteps=importance timesteps.uniform_share=1", "timesteps.uniform_share=1 lies outside [0, 1)"),
        ("trainer.devices=-7", "devices"),
        ("optimizer.lr=-1", "Invalid learning rate"),
        ("+optimizer.momentum=0.9", "momentum"),
        ("callbacks.ema.decay=1", "Error: callbacks.ema.decay=1 lies outside [0, 1)"),
        ("schedule._target_=ddpm_lightning.nothing.Here", "ddpm_lightning.nothing"),
        *slow(
            ("schedule.T=0", "schedule.T=0 is not a whole number of at least 2"),
            ("schedule.beta_1=0.5", "schedule.beta_1=0.5 is greater than schedule.beta_T=0.02"),
            ("data.batch_size=-1", "data.batch_size=-1 is not a whole number of at least 1"),
            ("trainer.max_steps=0", "trainer.max_steps=0"),
            ("trainer.precision=16-mixed", "trainer.precision=16-mixed is none of"),
            ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0"),
            ("+module.foo=1", "foo"),
            ("seed=-1", "seed=-1 is not a whole number"),
            ("data.levels=1", "data.levels=1 is not a whole number of at least 2"),
            ("data.levels=300", "data.levels=300 exceeds 256"),
            ("module.warmup_steps=-1", "warmup_steps=-1"),
            ("module.max_grad_norm=0", "max_grad_norm=0"),
            ("module.test_strata=0", "test_strata=0"),
            ("callbacks.metrics.every_n_steps=0", "every_n_steps=0 is not a whole number of at least 1"),
            ("callbacks.grid.num_images=0", "num_images=0 is not a whole number of at least 1"),
            ("callbacks.grid.num_steps=0", "num_steps=0 is not a whole number of at least 1"),
            ("callbacks.strip.num_columns=1", "num_columns=1 is not a whole number of at least 2"),
        ),
    ],
)
def test_wrong_options(mistake: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *WITH_PLOTS, *mistake.split())
    assert words in said
    assert not (tmp_path / "checkpoints").exists()


def test_a_callback_without_a_class_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As where an experiment sets an option of what the user has left out."""
    chosen = ("experiment=weights_digits", "quality=none", "hydra.mode=RUN", "logger=none")
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *chosen)
    assert "callbacks.quality={'every_n_steps': 1000} has no _target_" in said
    assert "callbacks.quality=null leaves it out" in said


def test_a_folder_without_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", "data=image_folder", f"data.root={tmp_path}/x")
    assert "is not a folder" in said
    (tmp_path / "x").mkdir()
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", "data=image_folder", f"data.root={tmp_path}/x")
    assert "holds no images" in said


def test_a_missing_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "data.root" in error_of(capsys, "train", f"hydra.run.dir={tmp_path}", "data=image_folder")


def test_a_checkpoint_of_another_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, "trainer.max_steps=1")
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, "network.channels=16")
    assert "is of a run with another network" in said
    assert "give that run's options" in said
    for other in ("data.channels=3", "loss=vdm", "seed=1", "optimizer.lr=0.1", "data.batch_size=8", "schedule.T=9"):
        said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, other)
        assert "is of a run with another" in said
        assert other.partition(".")[0].partition("=")[0] in said


def checkpoint_error(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: Any) -> str:
    path = tmp_path / "some.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    said = error_of(capsys, "sample", f"hydra.run.dir={tmp_path}/samples", f"checkpoint={path}")
    assert "some.ckpt" in said
    return said


def test_checkpoints_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "damaged or not a PyTorch checkpoint" in checkpoint_error(capsys, tmp_path, b"just text\n")
    assert "damaged or not a PyTorch checkpoint" in checkpoint_error(capsys, tmp_path, b"")
    assert "holds no configuration" in checkpoint_error(capsys, tmp_path, {"state_dict": {}})
    assert "holds no configuration" in checkpoint_error(capsys, tmp_path, [1, 2])


def test_a_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"hydra.run.dir={tmp_path}/samples"
    assert "there is no checkpoint" in error_of(capsys, "sample", where, f"checkpoint={tmp_path}/none.ckpt")
    assert "add checkpoint=PATH" in error_of(capsys, "sample", where)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), "trainer.max_steps=1") / "checkpoints" / "last.ckpt"


def test_a_truncated_checkpoint(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "damaged or not a PyTorch checkpoint" in checkpoint_error(capsys, tmp_path, checkpoint.read_bytes()[:-2000])


class Code:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


def test_a_checkpoint_with_code_inside(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(checkpoint, weights_only=True)
    assert "damaged or not a PyTorch checkpoint" in checkpoint_error(capsys, tmp_path, {**content, "code": Code()})
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "node", "words"),
    [
        ("network", {"_target_": "os.system", "command": "true"}, "'os.system', which is no part of a model"),
        ("schedule", {"_target_": "ddpm_lightning.diffusion.schedules.torch.load"}, "which is no part of a model"),
        ("schedule", {"_target_": "ddpm_lightning.cli.train.run"}, "which is no part of a model"),
        ("schedule", {"_target_": 7}, "which is no part of a model"),
        ("variance", {"deep": [{"_target_": "builtins.eval"}]}, "'builtins.eval'"),
        ("data", {"root": "${oc.env:HOME}"}, "could read your environment"),
        (
            "data",
            {"size": ({"_target_": "pathlib.Path.touch"}, 4)},
            "'pathlib.Path.touch', which is no part of a model",
        ),
        ("data", {"size": {1, 2}}, "has a set in its configuration"),
    ],
)
def test_a_checkpoint_that_asks_to_build_something_else(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, node: Any, words: str
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["config"][part] = {**content["config"][part], **node}
    assert words in checkpoint_error(capsys, tmp_path, content)


def test_a_checkpoint_with_half_a_configuration(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    assert "lacks schedule" in checkpoint_error(capsys, tmp_path, {**content, "config": {}})
    content.pop("global_step")
    assert "lacks global_step" in checkpoint_error(capsys, tmp_path, content)


def test_a_broken_image_met_while_reading_ahead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error comes from another process, with its traceback, of which the user sees nothing."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(10):
        Image.effect_noise((64, 64), 50).save(folder / f"{i}.png")
        (folder / f"{i}.png").write_bytes((folder / f"{i}.png").read_bytes()[:-900])  # which its header does not show
    options = ["data=image_folder", f"data.root={folder}", "data.side=4", "data.batch_size=4", "data.num_workers=1"]
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}/run", *WITHOUT_DATA, *options)
    assert ".png cannot be read as an image" in said


def test_weights_that_do_not_fit_their_configuration(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["config"]["network"]["channels"] = 16
    assert "do not fit the network" in checkpoint_error(capsys, tmp_path, content)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("num_images=0", "num_images=0"),
        ("batch_size=-2", "batch_size=-2"),
        ("sampler.num_steps=99", "sampler.num_steps=99 lies outside 1..8"),
        ("sampler=ddim sampler.eta=2", "sampler.eta=2 lies outside [0, 1]"),
        ("sampler=dddim", "sampler=dddim is no option; did you mean ddim?"),
    ],
)
def test_wrong_options_of_sampling(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str, words: str
) -> None:
    said = error_of(capsys, "sample", f"hydra.run.dir={tmp_path}", f"checkpoint={checkpoint}", *mistake.split())
    assert words in said


@pytest.mark.parametrize(
    ("mistakes", "words"),
    [
        (["hydra.run.dir={file}/run"], "cannot be written"),  # even root cannot write below a file
        (["-m", "hydra.sweep.dir={file}/sweep", "seed=1,2"], "choose another with hydra.sweep.dir=PATH"),
        pytest.param(
            ["hydra.run.dir={folder}", "schedule.T=many"], "T=many is not a whole number", marks=pytest.mark.slow
        ),
        pytest.param(["hydra.run.dir={folder}", "seed=abc"], "seed=abc is not a whole number", marks=pytest.mark.slow),
        pytest.param(
            ["hydra.run.dir={folder}", "data.batch_size=2.5"],
            "data.batch_size=2.5 is not a whole number",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_mistakes_in_a_process_of_its_own(mistakes: list[str], words: str, tmp_path: Path) -> None:
    """Without the tests' type checker, and from the very start."""
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    command = [sys.executable, "train.py", *(mistake.format(file=file, folder=folder) for mistake in mistakes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_choice_is_told_before_any_data_are_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"hydra.run.dir={tmp_path}", "data=cifar10", f"data.root={tmp_path}", "loss=hybrid"]
    assert "variance=beta is fixed" in error_of(capsys, "train", *options)


def test_a_run_does_not_resume_on_other_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, run = tmp_path / "images", tmp_path / "run"
    folder.mkdir()
    for number in range(20):
        Image.new("L", (4, 4), number).save(folder / f"{number:02}.png")
    options = ["data=image_folder", f"data.root={folder}", "data.side=4", "data.channels=1", "data.batch_size=4"]
    command("train", f"hydra.run.dir={run}", *WITHOUT_DATA, *options, "trainer.max_steps=2")
    (folder / "03.png").rename(folder / "03b.png")
    said = error_of(capsys, "train", f"hydra.run.dir={run}", *WITHOUT_DATA, *options, "trainer.max_steps=4")
    assert f"the run was trained on other images than those in {folder}" in " ".join(said.split())
