"""Which files of a folder are its images: through links, without hidden ones, and what is left out is told."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ddpm_lightning.errors import UserError
from ddpm_lightning.image_files.headers import MAX_HEADERS, describe_images, read_headers
from ddpm_lightning.image_files.search import BROKEN_LINK, LINKS, REPEATED_LINK, find_images, list_counts


def write(path: Path, mode: str = "RGB", size: tuple[int, int] = (4, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_images(folder, "data.root=").paths]


def test_images_are_found_at_any_depth_in_order_of_path(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.JPG", "a/1.jpeg", "a-b/3.jfif", "a/deep/er/4.gif"):
        write(tmp_path / name)
    assert names(tmp_path) == ["a/1.jpeg", "a/2.JPG", "a/deep/er/4.gif", "a-b/3.jfif", "b.png"]


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "dog" / "1.png")
    write(tmp_path / "elsewhere" / "2.png")
    write(tmp_path / "root" / "cat" / "3.png")
    (tmp_path / "root" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (tmp_path / "root" / "4.png").symlink_to("../elsewhere/2.png")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert names(tmp_path / "root") == names(tmp_path / "link") == ["4.png", "cat/3.png", "dog/1.png"]


def test_a_loop_of_links_and_a_second_link_are_noticed(tmp_path: Path) -> None:
    write(tmp_path / "z" / "1.png")
    (tmp_path / "z" / "up").symlink_to(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path / "z")
    found = find_images(tmp_path, "data.root=")
    assert found.paths == (tmp_path / "z" / "1.png",)  # once, and by its own name
    assert found.left_out == {REPEATED_LINK: 2}


def test_links_that_lead_nowhere_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "fetched later")
    (tmp_path / "dog").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    found = find_images(tmp_path, "data.root=")
    assert (len(found), found.left_out) == (1, {BROKEN_LINK: 3})


@pytest.mark.parametrize(
    "hidden",
    [
        ".ipynb_checkpoints/1-checkpoint.png",
        ".Trash-0/files/1.png",
        ".thumbnails/1.png",
        "__MACOSX/dog/._1.png",
        "._1.png",
        "dog/.1.swp.png",
        "@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
        "$RECYCLE.BIN/1.png",
    ],
)
def test_hidden_files_and_what_systems_leave_do_not_count(hidden: str, tmp_path: Path) -> None:
    write(tmp_path / hidden)
    write(tmp_path / "dog" / "1.png")
    assert names(tmp_path) == ["dog/1.png"]


def test_a_folder_below_a_hidden_one_counts_when_it_is_named(tmp_path: Path) -> None:
    write(tmp_path / ".cache" / "images" / "1.png")
    assert names(tmp_path / ".cache" / "images") == ["1.png"]
    with pytest.raises(UserError, match="holds no images"):
        find_images(tmp_path, "data.root=")


def test_one_link_is_one_link() -> None:
    assert list_counts(Counter({BROKEN_LINK: 1, ".heic": 2})) == "2 .heic, 1 broken link"
    assert list_counts(Counter({REPEATED_LINK: 2, ".heic": 1})) == f"2 {LINKS[REPEATED_LINK]}, 1 .heic"
    assert list_counts(Counter({".a": 2, ".b": 1}), at_most=1) == "2 .a, 1 more kind"


def test_other_kinds_are_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    for name in ("2.heic", "3.HEIC", "4.jxl", "LICENSE"):
        (tmp_path / name).touch()
    found = find_images(tmp_path, "data.root=")
    assert describe_images("x", found, read_headers(found.paths), "white").endswith(
        "left out: 2 .heic, 1 .jxl, 1 without a suffix"
    )
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError, match=r"holds no images that can be read, but 2 \.heic, 1 "):
        find_images(tmp_path, "data.root=")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "dog" / "1.png")

    def scandir(folder: str) -> Iterator[os.DirEntry[str]]:
        if folder.endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    listed = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"dog cannot be read \(Permission denied\)"):
        find_images(tmp_path, "data.root=")


def test_one_line_says_what_the_images_are(tmp_path: Path) -> None:
    write(tmp_path / "1.png", "RGB", (8, 6))
    write(tmp_path / "2.png", "RGB", (640, 480))
    write(tmp_path / "3.png", "RGBA", (10, 10))
    (tmp_path / "4.png").write_bytes(b"none")
    found = find_images(tmp_path, "x=")
    look = read_headers(found.paths)
    assert describe_images("4 images", found, look, "black") == (
        "4 images (2 RGB, 1 RGBA, 8×6 to 640×480, 1 unreadable); 1 can be transparent, over background=black"
    )
    assert "4.png cannot be read as an image" in look.refused[0]


def test_of_many_images_some_are_looked_at_from_first_to_last(tmp_path: Path) -> None:
    one, other = write(tmp_path / "1.png"), write(tmp_path / "2.png", "L", (9, 9))
    look = read_headers([one] * 2 * MAX_HEADERS + [other] * MAX_HEADERS)
    assert str(look) == f"of {MAX_HEADERS} looked at: {look.modes['RGB']} RGB, {look.modes['L']} L, 4×4 to 9×9"
    assert look.modes["RGB"] == pytest.approx(MAX_HEADERS * 2 / 3, abs=1)
