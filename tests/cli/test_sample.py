"""`python sample.py`, whole: formats, seeds, samplers and weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning.diffusion.samplers import AncestralSampler, end_of
from ddpm_lightning.seeding import NoisePerImage, derive
from ddpm_lightning.training.generate import walk
from tests.commands import command, train
from tests.training.test_ema import new_module


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("data.channels=3", "variance=learned_range", "loss=hybrid", "optimizer.lr=0.05", "schedule.beta_T=0.6")
    return train(tmp_path_factory.mktemp("run"), *options) / "checkpoints" / "last.ckpt"


def sample(checkpoint: Path, folder: Path, *overrides: str) -> np.ndarray:
    """The images of an .npz that sample.py wrote: uint8 [n, h, w, c]."""
    command("sample", f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", "output=npz", "num_images=7", *overrides)
    with np.load(folder / "samples.npz") as file:
        return np.array(file["images"])


def test_npz_is_uint8_channels_last(checkpoint: Path, tmp_path: Path) -> None:
    images = sample(checkpoint, tmp_path)
    assert images.shape == (7, 4, 4, 3)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) <= {round(255 * k / 16) for k in range(17)}  # the data have 17 levels
    assert len(np.unique(images)) > 4


def test_images_depend_on_the_seed_and_not_on_the_batch_size(checkpoint: Path, tmp_path: Path) -> None:
    whole = sample(checkpoint, tmp_path / "a", "batch_size=7")
    parts = sample(checkpoint, tmp_path / "b", "batch_size=3")
    other = sample(checkpoint, tmp_path / "c", "seed=1")
    assert (whole == parts).mean() > 0.99  # convolutions of another batch size differ in the last bit
    assert (whole == other).mean() < 0.5


def test_seed_0_is_a_seed() -> None:
    assert derive(0, "image", 0) != derive(1, "image", 0)
    assert torch.equal(NoisePerImage(0, [0, 1]).randn(5), NoisePerImage(0, [0, 1]).randn(5))


def test_noise_belongs_to_the_image_and_goes_on() -> None:
    together, second = NoisePerImage(3, [0, 1]), NoisePerImage(3, [1])
    for _ in range(3):
        assert torch.equal(together.randn(4)[1:], second.randn(4))
    assert not torch.equal(together.randn(4), together.randn(4))


def test_samplers_weights_and_steps_are_choices(checkpoint: Path, tmp_path: Path) -> None:
    variants = {
        "ancestral": [],
        "coarse": ["sampler.num_steps=4"],
        "ddim": ["sampler=ddim", "sampler.num_steps=4"],
        "stochastic": ["sampler=ddim", "sampler.num_steps=4", "sampler.eta=1.0"],
        "quadratic": ["sampler=ddim", "sampler.num_steps=4", "sampler.eta=1.0", "sampler/spacing=quadratic"],
        "raw": ["use_ema=false"],
    }
    images = [sample(checkpoint, tmp_path / name, *options) for name, options in variants.items()]
    for i, one in enumerate(images):
        assert all(not np.array_equal(one, other) for other in images[:i])


def test_grid_and_png_files(checkpoint: Path, tmp_path: Path) -> None:
    where = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", "num_images=5"]
    command("sample", *where)
    assert Image.open(tmp_path / "grid.png").size == (3 * 50 + 2, 2 * 50 + 2)
    command("sample", *where, "output=png")
    files = sorted((tmp_path / "images").iterdir())
    assert [file.name for file in files] == [f"0000{i}.png" for i in range(5)]
    assert Image.open(files[0]).size == (4, 4)
    expected = sample(checkpoint, tmp_path / "npz", "num_images=5")
    assert np.array_equal(np.array(Image.open(files[3])), expected[3])


def test_grey_png_files_are_grey(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "trainer.max_steps=1")
    last = run / "checkpoints" / "last.ckpt"
    command("sample", f"checkpoint={last}", f"hydra.run.dir={tmp_path}", "num_images=1", "output=png")
    assert Image.open(tmp_path / "images" / "00000.png").mode == "L"


def test_generating_leaves_the_model_in_its_mode() -> None:
    module = new_module()
    module.model.train()
    end_of(walk(module.model, AncestralSampler(), (1, 4, 4), 2, seed=0))
    assert module.model.training
