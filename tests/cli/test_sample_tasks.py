"""`python sample.py task=`: given images are completed or changed, and files that do not fit are refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import command, error_of, slow, train

GREYS = [round(255 * k / 16) for k in range(17)]
"""The 17 levels of the data, in 0..255."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("optimizer.lr=0.05", "trainer.max_steps=1", "module.warmup_steps=0")
    return train(tmp_path_factory.mktemp("run"), *options) / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images, a mask whose right half is white, and files that do not fit."""
    folder = tmp_path_factory.mktemp("given")
    draws = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(2):
        pixels = draws.choice(GREYS, (4, 4)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    mask = np.zeros((4, 4), np.uint8)
    Image.fromarray(mask).save(folder / "black.png")
    mask[:, 2:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(folder / "large.png")
    np.savez(folder / "masks.npz", images=np.full((3, 4, 4, 1), 255, np.uint8))
    return folder


def sample(checkpoint: Path, folder: Path, *options: str) -> np.ndarray:
    command("sample", f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", "output=npz", "num_images=3", *options)
    with np.load(folder / "samples.npz") as file:
        return np.array(file["images"][..., 0])


def pixels_of(given: Path) -> np.ndarray:
    """The given images in turn, as samples 0, 1 and 2 have them."""
    first, second = (np.array(Image.open(given / "images" / f"{number}.png")) for number in range(2))
    return np.stack([first, second, first])


def test_inpainting_keeps_the_known_pixels_and_draws_the_others(checkpoint: Path, given: Path, tmp_path: Path) -> None:
    options = ["task=inpaint", f"task.image={given}/images", f"task.mask={given}/mask.png", "task.repeats=2"]
    found = sample(checkpoint, tmp_path, *options)
    assert np.array_equal(found[:, :, :2], pixels_of(given)[:, :, :2])
    assert (found[:, :, 2:] != pixels_of(given)[:, :, 2:]).any()
    assert not np.array_equal(found[0], found[2])  # the same image, with other noise
    assert not (tmp_path / "generated").exists()


def test_sdedit_changes_an_image_little_by_little(checkpoint: Path, given: Path, tmp_path: Path) -> None:
    options = ["task=sdedit", f"task.image={given}/images"]
    near, far = (
        sample(checkpoint, tmp_path / str(strength), *options, f"task.strength={strength}") for strength in (0.13, 1)
    )
    away = [np.abs(each.astype(float) - pixels_of(given)).mean() for each in (near, far)]
    assert away[0] < away[1]


def test_guided_inpainting_comes_near_the_known_pixels(checkpoint: Path, given: Path, tmp_path: Path) -> None:
    """With any sampler, here one of several steps at a time."""
    options = ["task=inpaint_guided", f"task.image={given}/images", f"task.mask={given}/mask.png", "sampler=unipc"]
    found, real = sample(checkpoint, tmp_path, *options).astype(float), pixels_of(given)
    assert np.abs(found - real)[:, :, :2].mean() < 20 < np.abs(found - real)[:, :, 2:].mean()


def test_superres_has_the_means_of_the_small_image(checkpoint: Path, given: Path, tmp_path: Path) -> None:
    Image.fromarray(np.array([[40, 200], [120, 90]], np.uint8)).save(tmp_path / "small.png")
    options = ["task=superres", f"task.image={tmp_path}/small.png", "sampler=ddim"]
    found = sample(checkpoint, tmp_path / "run", *options).astype(float)
    means = found.reshape(3, 2, 2, 2, 2).mean((2, 4))
    assert np.abs(means - [[40, 200], [120, 90]]).max() < 25
    assert found.std(0).max() > 5


def test_a_finished_folder_is_of_one_image(
    checkpoint: Path, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The content of the given image counts, for a file can be replaced."""
    image = tmp_path / "image.png"
    image.write_bytes((given / "images" / "0.png").read_bytes())
    options = ["task=sdedit", f"task.image={image}"]
    sample(checkpoint, tmp_path / "run", *options)
    image.write_bytes((given / "images" / "1.png").read_bytes())
    where = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}/run", "output=npz", "num_images=3"]
    assert "given_sha256" in error_of(capsys, "sample", *where, *options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("task=inpaint task.image={0}/images", "task.mask is missing; add task.mask="),
        ("task=inpaint task.image={0}/images task.mask={0}/masks.npz", "3 masks for 2 images; give one mask for all"),
        ("task=sdedit task.image={0}/large.png", "(1, 5, 4) (channels, height, width), and (1, 4, 4) is needed"),
        ("task=superres task.image={0}/images task.factor=3", "task.factor=3 does not divide 4 and 4"),
        *slow(
            ("task=inpaint task.image={0}/images task.mask={0}/black.png", "hides nothing: white is what is filled in"),
            ("task=inpaint task.image={0}/images task.mask={0}/mask.png sampler=unipc", "use sampler=ddim"),
            ("task=inpaint task.image={0}/images task.mask={0}/mask.png task.repeats=0", "task.repeats=0"),
            ("task=sdedit task.image={0}/nowhere.png", "nowhere.png; name an image, a folder of images or an .npz"),
            ("task=sdedit task.image={0}/images task.strength=2", "task.strength=2"),
            ("task=inpant", "did you mean inpaint?"),
        ),
    ],
)
def test_what_does_not_fit(
    options: str, words: str, checkpoint: Path, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", "num_images=3"]
    assert words in error_of(capsys, "sample", *where, *options.format(given).split())
