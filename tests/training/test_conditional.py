"""Training with conditioning=class: exact on resume and in parts, and self-described."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ddpm_lightning.configuration.build import build_model, make_node
from ddpm_lightning.diffusion.conditional.conditioning import ClassConditioning
from ddpm_lightning.errors import UserError
from ddpm_lightning.training.checkpoint import CONFIG, load_model, read_checkpoint
from ddpm_lightning.training.labelling import LabelsOfData
from ddpm_lightning.training.loggers.media import MediaLogger
from ddpm_lightning.training.same_run import fingerprint
from tests.cli.test_train import STATE, losses, same
from tests.commands import SMALL, command, error_of, results
from tests.configuration.test_choices import composed

DIGITS = [option for option in SMALL if not option.startswith("data")]
DIGITS += ["data=digits", "data.batch_size=8", "+data.max_train_images=40", "quality=none", "callbacks.grid=null"]
DIGITS += ["callbacks.strip=null", "module.test_strata=2"]
OPTIONS = [*DIGITS, "conditioning=class", "conditioning.dropout=0.5", "network.dropout=0.1"]


def train(run_dir: Path, *overrides: str) -> Path:
    command("train", f"hydra.run.dir={run_dir}", *OPTIONS, *overrides)
    return run_dir


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"))


def test_a_stopped_run_goes_on_exactly(run: Path, tmp_path: Path) -> None:
    train(tmp_path, "trainer.max_steps=2")
    train(tmp_path)
    whole, halves = (read_checkpoint(path / "checkpoints" / "last.ckpt") for path in (run, tmp_path))
    for key in (*STATE, CONFIG):
        same(
            *(
                {**each[key], **dict.fromkeys(("run_dir", "trainer", "logger"))} if key == CONFIG else each[key]
                for each in (whole, halves)
            ),
            key,
        )
    assert losses(run) == losses(tmp_path)


def test_every_row_of_classes_is_learned_and_averaged(run: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    moment = next(s["exp_avg"] for s in checkpoint["optimizer_states"][0]["state"].values() if len(s["exp_avg"]) == 11)
    labels = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
    seen = {int(row) for row in moment.abs().sum(1).nonzero()}
    assert 10 in seen  # no class
    assert len(seen & labels) > 4
    assert checkpoint["ema"]["network.time.classes.weight"].shape == (11, 32)


@pytest.mark.slow
def test_two_parts_hide_the_classes_that_the_whole_batch_hides(run: Path, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "network.dropout=0")
    parts = train(tmp_path / "parts", "network.dropout=0", "trainer.accumulate_grad_batches=2")
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)


@pytest.mark.slow
def test_so_do_two_processes(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "network.dropout=0")
    parts = train(tmp_path / "parts", "network.dropout=0", "trainer=ddp_cpu")
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)


def test_a_checkpoint_knows_its_classes_without_the_data(run: Path) -> None:
    checkpoint, data, model = load_model(run / "checkpoints" / "last.ckpt", use_ema=True)
    assert model.conditioning == ClassConditioning(0.5, list("0123456789"))
    assert data.yields_classes
    assert checkpoint[CONFIG]["conditioning"]["class_names"] == list("0123456789")
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 8])
    first, second = (model.given(torch.tensor([k, k]))(x, t).f for k in (3, 4))
    assert not torch.equal(first, second)


def test_bits_given_the_class_are_named_so(run: Path) -> None:
    names = results(run)["metrics"]
    assert "test/bpd_beta_given_class_estimate" in names
    assert "test/bpd_beta_estimate" not in names


def test_another_conditioning_is_another_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [f"hydra.run.dir={run}", "trainer.max_steps=6"]
    said = error_of(capsys, "train", *more, *DIGITS, "network.dropout=0.1")
    assert "another conditioning (ClassConditioning) than this one's (NoConditioning)" in said
    said = error_of(capsys, "train", *more, *OPTIONS, "conditioning.dropout=0.1")
    assert "another conditioning.dropout (0.5) than this one's (0.1)" in said


def test_data_without_labels_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, "conditioning=class")
    assert "conditioning=class needs labels, and FakeDataModule has none" in said


def test_configurations_that_name_no_conditioning_have_none() -> None:
    """Those of checkpoints and results of version 0.1: they load, and are the same run as before."""
    config = composed()
    old = {name: node for name, node in config.items() if name != "conditioning"}
    assert fingerprint(config) == fingerprint(old)
    assert fingerprint(config) != fingerprint(composed("conditioning=class"))


def test_samples_have_a_row_for_each_class(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the images of which the quality is measured are of all classes."""
    tables: dict[str, Any] = {}
    monkeypatch.setattr(MediaLogger, "show_table", lambda _, name, columns, rows: tables.update({name: rows}))
    seen: list[int] = []
    of_data = LabelsOfData.of
    monkeypatch.setattr(LabelsOfData, "of", lambda *args: seen.extend(of_data(*args).tolist()) or of_data(*args))
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    grid = [f"callbacks.grid.{option}" for option in ("num_images=23", "num_steps=2")]
    with_pictures = [option for option in OPTIONS if option not in ("callbacks.grid=null", "quality=none")]
    quality = ["quality=digits_quick", "callbacks.quality.every_n_steps=1000"]
    command("train", f"hydra.run.dir={tmp_path}", *with_pictures, *grid, *quality, "trainer.max_steps=5")
    assert Image.open(tmp_path / "samples" / "grid_final.png").size == (3 * 50 + 2, 10 * 50 + 2)
    rows = tables["samples/by_class"]
    assert [name for name, _ in rows] == list("0123456789")
    assert [picture.size for _, picture in rows] == [(3 * 50 + 2, 52)] * 3 + [(2 * 50 + 2, 52)] * 7
    assert len(seen) == 70
    assert len(set(seen)) > 7


class WithoutClasses(nn.Module):
    """A network of somebody else."""

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int]) -> None:
        super().__init__()


def test_a_network_that_takes_no_classes_is_named() -> None:
    network = {"_target_": "tests.training.test_conditional.WithoutClasses"}
    config = {**composed("conditioning=class"), "network": network}
    with pytest.raises(UserError, match="WithoutClasses takes no num_classes, which conditioning=class gives it"):
        build_model(config, make_node(config, "data"))


@pytest.mark.slow
def test_a_network_of_the_users_own_that_counts_classes_from_zero(tmp_path: Path) -> None:
    (tmp_path / "conf" / "network").mkdir(parents=True)
    (tmp_path / "conf" / "network" / "mine.yaml").write_text("_target_: tests.networks.zoo.CountsFromZero")
    chosen = [option for option in OPTIONS if not option.startswith("network")]
    command("train", f"--config-dir={tmp_path}/conf", f"hydra.run.dir={tmp_path}/run", "network=mine", *chosen)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    asked = ["labels=[3,7]", "num_images=4", "output=npz"]
    plain, guided = (tmp_path / name for name in ("plain", "guided"))
    for folder, more in ((plain, []), (guided, ["guidance=cfg", "guidance.scale=3"])):
        command("sample", f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", *asked, *more)
    plain_images, guided_images = (np.load(folder / "samples.npz")["images"] for folder in (plain, guided))
    assert plain_images.shape == guided_images.shape == (4, 8, 8, 1)
    assert (plain_images != guided_images).any()
