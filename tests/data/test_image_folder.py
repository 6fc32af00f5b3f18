"""A folder of images as data: what it says of itself, what lies under transparent pixels, and which images train."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning.cli.prepare import convert
from ddpm_lightning.data.image_folder import ImageFolderDataModule
from ddpm_lightning.data.shards import ShardsDataModule
from ddpm_lightning.errors import UserError
from tests.data.formats import everything, write_folder


def test_a_validation_folder_tests_and_does_not_train(tmp_path: Path) -> None:
    for split, n in (("Train", 8), ("valid", 12)):
        for number in range(n):
            (tmp_path / split).mkdir(exist_ok=True)
            Image.new("L", (4, 4), n).save(tmp_path / split / f"{number}.png")
    data = ImageFolderDataModule(root=str(tmp_path), side=4, channels=1)
    assert everything(data, "train").unique().tolist() == [8]
    assert everything(data, "test").unique().tolist() == [12]


def test_one_line_at_the_start_says_once_what_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, 20, "png")
    Image.new("RGBA", (9, 9)).save(tmp_path / "clear.png")
    (tmp_path / "photo.heic").touch()
    data = ImageFolderDataModule(root=str(tmp_path), side=4, batch_size=4)
    with caplog.at_level(logging.INFO):
        data.setup("fit")
        data.setup("fit")
        data.setup("test")
    assert [record.getMessage() for record in caplog.records] == [
        f"data.root={tmp_path}: 19 train and 2 test images (20 RGB, 1 RGBA, 9×9 to 40×32); "
        "1 can be transparent, over background=white; left out: 1 .heic"
    ]


def test_an_image_that_cannot_be_read_is_told_before_training(tmp_path: Path) -> None:
    write_folder(tmp_path, 20, "png")
    Image.new("F", (4, 4), 0.5).save(tmp_path / "depth.tif")
    with pytest.raises(UserError, match=r"depth\.tif has floats as pixels"):
        ImageFolderDataModule(root=str(tmp_path), side=4, batch_size=4).setup("fit")


def clear_folder(folder: Path, side: int = 4) -> Path:
    """20 images with nothing but transparent black in them."""
    folder.mkdir()
    for number in range(20):
        Image.new("RGBA", (side, side), (0, 0, 0, 0)).save(folder / f"{number:02}.png")
    return folder


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0), ("#404040", 64)])
def test_transparent_pixels_have_the_background(background: str, value: int, tmp_path: Path) -> None:
    root = clear_folder(tmp_path / "images")
    for channels in (1, 3):
        data = ImageFolderDataModule(root=str(root), side=4, channels=channels, background=background)
        assert everything(data, "train").unique().tolist() == [value]


def test_shards_hold_what_the_folder_shows(tmp_path: Path) -> None:
    """Images of the right size already would be kept as they came, if nothing of them were transparent."""
    root = clear_folder(tmp_path / "images")
    data = ImageFolderDataModule(root=str(root), side=4, background="red")
    convert(data, tmp_path / "shards", images_per_shard=8, workers=0)
    images = everything(ShardsDataModule(root=f"{tmp_path}/shards", side=4), "train")
    assert images[:, 0].unique().tolist() == [255]
    assert images[:, 1:].unique().tolist() == [0]


def test_another_background_is_other_data(tmp_path: Path) -> None:
    root = str(clear_folder(tmp_path / "images"))
    white, black = (
        ImageFolderDataModule(root=root, background=ground).images("train") for ground in ("white", "black")
    )
    assert white.fingerprint() != black.fingerprint()


@pytest.mark.parametrize("background", ["whitish", "#12345678", "0", ""])
def test_a_background_that_is_no_colour_is_refused(background: str) -> None:
    with pytest.raises(UserError, match=rf"data\.background={background} is not a colour"):
        ImageFolderDataModule(root="x", background=background)


def state(root: Path) -> dict[str, Any]:
    """What a checkpoint keeps of the images in this folder."""
    return ImageFolderDataModule(root=str(root), side=4).state_dict()


def resume(root: Path, before: dict[str, Any]) -> None:
    ImageFolderDataModule(root=str(root), side=4).load_state_dict(before)


def test_a_run_resumes_on_a_copy_of_its_images_and_on_no_others(tmp_path: Path) -> None:
    """By names and sizes; their order is drawn by their number, so some would be seen twice and others never."""
    before = state(write_folder(tmp_path / "images", 20, "png"))
    shutil.copytree(tmp_path / "images", tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
    resume(tmp_path / "copy", before)
    resume(tmp_path / "images", {"num_images": before["num_images"]})  # of a checkpoint before this was kept
    (tmp_path / "copy" / "003.png").rename(tmp_path / "copy" / "003b.png")
    with pytest.raises(UserError, match="was trained on other images than those in"):
        resume(tmp_path / "copy", before)
    (tmp_path / "images" / "003.png").write_bytes((tmp_path / "images" / "004.png").read_bytes())
    with pytest.raises(UserError, match="was trained on other images than those in"):
        resume(tmp_path / "images", before)
    for name in ("003.png", "004.png"):
        (tmp_path / "images" / name).unlink()
    with pytest.raises(UserError, match="the run began with 18 training images, and now there are 17"):
        resume(tmp_path / "images", before)


def test_shards_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    states = []
    for name, n in (("one", 20), ("same", 20), ("other", 21)):
        data = ImageFolderDataModule(root=str(write_folder(tmp_path / name, n, "png")), side=4)
        convert(data, tmp_path / f"{name}-shards", images_per_shard=8, workers=0)
        states.append(ShardsDataModule(root=f"{tmp_path / name}-shards", side=4).state_dict()["images"])
    assert states[0] == states[1] != states[2]


def test_four_channels_keep_transparency_and_no_colour_that_nobody_sees(tmp_path: Path) -> None:
    """Also in shards, and also of images that are not resized."""
    draws = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(20):
        pixels = draws.integers(0, 256, (4, 4, 4), np.uint8)
        pixels[0, :, 3] = 0
        Image.fromarray(pixels).resize((8, 8) if number else (4, 4)).save(tmp_path / "images" / f"{number:02}.png")
    data = ImageFolderDataModule(root=str(tmp_path / "images"), side=4, channels=4)
    images = everything(data, "train")
    assert images[0, 3, 0].max() == 0
    assert images[:, :3].amax(1)[images[:, 3] == 0].max() == 0
    first = np.array(Image.open(tmp_path / "images" / "00.png"))
    assert np.array_equal(images[0, :, 1:].permute(1, 2, 0).numpy(), first[1:])
    convert(data, tmp_path / "shards", images_per_shard=8, workers=0)
    shards = ShardsDataModule(root=str(tmp_path / "shards"), side=4, channels=4)
    assert torch.equal(everything(shards, "train"), images)


@pytest.mark.parametrize("side", [[4, 8], [8, 4], [6, 4]])
def test_images_that_are_not_square_are_cut_to_their_shape(side: list[int], tmp_path: Path) -> None:
    """Of an image whose left and right halves differ, the middle is kept whole, also in shards."""
    for number, size in enumerate([(40, 20), (20, 40), (8, 4), (4, 8), (30, 30)] * 4):
        image = Image.new("RGB", size, (255, 0, 0))
        image.paste((0, 0, 255), (0, 0, size[0] // 2, size[1]))
        (tmp_path / "images").mkdir(exist_ok=True)
        image.save(tmp_path / "images" / f"{number:02}.png")
    data = ImageFolderDataModule(root=str(tmp_path / "images"), side=side)
    images = everything(data, "train")
    assert images.shape == (18, 3, *side)
    assert (images[:, 2, :, : side[1] // 2 - 1] > 200).all()
    assert (images[:, 0, :, side[1] // 2 + 1 :] > 200).all()
    convert(data, tmp_path / "shards", images_per_shard=8, workers=0)
    assert torch.equal(everything(ShardsDataModule(root=str(tmp_path / "shards"), side=side), "train"), images)
    with pytest.raises(
        UserError, match=rf"data\.side=4, but the shards in .* have \[{side[0]},{side[1]}\]; say data\.side="
    ):
        ShardsDataModule(root=str(tmp_path / "shards"), side=4).load("train")


@pytest.mark.parametrize("side", [[4, 4, 4], [4], [4, 0], []])
def test_a_side_that_is_no_height_and_width_is_refused(side: list[int]) -> None:
    with pytest.raises(UserError, match=r"data\.side=.* is not a whole number of at least 1"):
        ImageFolderDataModule(root="x", side=side)


def test_height_and_width_that_are_equal_are_a_side(tmp_path: Path) -> None:
    root = str(write_folder(tmp_path, 20, "png"))
    one, two = (ImageFolderDataModule(root=root, side=side).images("train") for side in (4, [4, 4]))
    assert one.fingerprint() == two.fingerprint()
