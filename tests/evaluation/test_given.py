"""Images that evaluate.py is given, as files in a folder: read as training reads them."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.image_sets import Given
from tests.commands import error_of


def write(path: Path, mode: str, value: int | tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, 4), value).save(path)


def test_links_are_followed_and_hidden_files_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "elsewhere" / "0.png", "L", 1)
    write(tmp_path / "set" / "1.png", "L", 2)
    write(tmp_path / "set" / ".thumbnails" / "1.png", "L", 3)
    (tmp_path / "set" / "0").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "2.heic").touch()
    with caplog.at_level(logging.INFO):
        given = Given(tmp_path / "set")
    (images,) = given.batches()
    assert images[:, 0, 0, 0].tolist() == [1, 2]
    assert caplog.messages == [f"images={tmp_path}/set: 2 images (2 L, 4×4); left out: 1 .heic"]


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("#404040", 64)])
def test_grey_images_with_transparent_pixels_are_grey_over_a_grey_background(
    tmp_path: Path, background: str, value: int
) -> None:
    write(tmp_path / "0.png", "L", 7)
    write(tmp_path / "1.png", "LA", (0, 0))
    (images,) = Given(tmp_path, background=background).batches()
    assert images.shape == (2, 1, 4, 4)
    assert images[1].unique().tolist() == [value]


def test_colours_of_transparent_pixels_are_not_judged(tmp_path: Path) -> None:
    write(tmp_path / "0.png", "RGBA", (1, 2, 3, 0))
    (images,) = Given(tmp_path, background="black").batches()
    assert images.unique().tolist() == [0]


def test_a_folder_of_several_splits_is_no_set(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / split / "0.png", "L", 0)
    with pytest.raises(UserError, match=r"has train/, val/, which would be mixed; name one set with reference="):
        Given(tmp_path, "reference=")
    assert Given(tmp_path / "val").n == 1


def test_a_background_that_is_no_colour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [f"images={tmp_path}", f"reference={tmp_path}", f"hydra.run.dir={tmp_path}/out"]
    assert "background=whitish is not a colour" in error_of(capsys, "evaluate", *where, "background=whitish")
