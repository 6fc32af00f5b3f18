"""`python prepare.py`, whole: broken images named, killed at any moment and gone on with, mistakes told."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tqdm import tqdm

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.data.shards import ShardsDataModule
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.prepare import conversion, writing
from tests.commands import command, error_of
from tests.conftest import ROOT
from tests.data.formats import encoded, everything, picture, write_folder, write_lsun
from tests.kills import killed_at_random
from tests.runtime.test_stopped import wait_for

BROKEN = (7, 31)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images, of which two are broken: one is text, one has lost its end."""
    images = write_folder(tmp_path_factory.mktemp("folder") / "images", 60, "png")
    (images / "007.png").write_bytes(b"<html>not found</html>")
    (images / "031.png").write_bytes((images / "031.png").read_bytes()[:-300])
    return images


def options(folder: Path, into: Path, workers: int = 2) -> list[str]:
    return [f"data.root={folder}", "data.side=16", f"into={into}", "images_per_shard=4", f"workers={workers}"]


def content(into: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in into.iterdir()}


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict[str, bytes]:
    """What the command writes that nobody stopped."""
    command("prepare", *options(folder, folder.parent / "whole", workers=0))
    return content(folder.parent / "whole")


def test_broken_images_are_named_and_the_others_go_on(
    folder: Path, whole: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command("prepare", *options(folder, tmp_path / "shards"))
    said = capfd.readouterr().out
    for name in ("007.png", "031.png"):
        assert f"Left out: {folder / name} cannot be read as an image" in said
        assert str(folder / name) in (tmp_path / "shards" / "broken.txt").read_text()
    assert "Left out because broken: 2 images" in said
    assert "52 train images and 6 test images" in said
    shards = ShardsDataModule(root=str(tmp_path / "shards"), side=16)
    images = torch.cat([everything(shards, split) for split in ("train", "test")])
    assert len({image.numpy().tobytes() for image in images}) == 58
    assert content(tmp_path / "shards") == whole  # whatever the number of processes


def test_shards_that_are_finished_are_not_made_again(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    command("prepare", *options(folder, tmp_path))
    with patch.object(writing.Shard, "write", side_effect=AssertionError("written again")):
        command("prepare", *options(folder, tmp_path, workers=0))
    assert content(tmp_path) == whole


def test_a_kill_before_the_first_shard_leaves_no_trace(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "recipe.json.elsewhere.123.tmp").write_bytes(b"half")
    command("prepare", *options(folder, tmp_path))
    assert content(tmp_path) == whole


def test_a_broken_image_may_have_any_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = write_folder(tmp_path / "images", 12)
    (images / os.fsdecode(b"no \xff text.png")).write_bytes(b"no image")
    command("prepare", *options(images, tmp_path / "shards"))
    named = (tmp_path / "shards" / "broken.txt").read_text()
    assert r"no \udcff text.png cannot be read as an image" in named
    assert named in capfd.readouterr().out.replace("Left out: ", "")


def names(into: Path) -> set[str]:
    """Of shards, whole or half written."""
    return {path.name for path in into.glob("t*-*")}


def prepare_apart(folder: Path, into: Path) -> None:
    """With a lock of its own for the progress bar: who is killed with the one that copies share leaves it locked."""
    tqdm.set_lock(threading.RLock())
    command("prepare", *options(folder, into))


def killed_after(folder: Path, into: Path, seconds: float) -> bool:
    """Runs the command in a copy of this process, which has imported everything, and kills that so long after it has
    begun a shard. Whether it was hit."""
    before = names(into)
    run = multiprocessing.get_context("fork").Process(target=prepare_apart, args=(folder, into))
    run.start()
    wait_for(lambda: names(into) != before or not run.is_alive(), every=0.001)
    run.join(seconds)
    hit = run.is_alive()
    run.kill()
    run.join()
    return hit


@pytest.mark.slow
def test_kills_at_random_moments_leave_no_trace(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Each while shards are written, of which some are whole; processes that outlive the command may go on a while."""

    def check(into: Path) -> None:
        assert content(into) == whole

    into = killed_at_random(tmp_path, partial(killed_after, folder), check, latest=0.2, hits=8)
    command("prepare", *options(folder, into))
    check(into)


def test_a_half_written_shard_counts_for_nothing(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Whatever a kill, a full disk or a copy left there."""
    for name in ("train-000000.tar", "train-000001.json", "train-000002.tar"):
        (tmp_path / name).write_bytes(whole[name][: len(whole[name]) // 2])
    (tmp_path / "train-000002.json").write_bytes(whole["train-000002.json"])
    for name in (
        "train-000003.tar.elsewhere.123.tmp",
        "recipe.json.elsewhere.123.tmp",
        "shards.json.elsewhere.123.tmp",
    ):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "recipe.json").write_bytes(whole["recipe.json"])
    assert "is not finished" in unreadable(tmp_path)
    command("prepare", *options(folder, tmp_path))
    assert content(tmp_path) == whole


def unreadable(into: Path) -> str:
    with pytest.raises(UserError) as caught:
        ShardsDataModule(root=str(into), side=16).load("train")
    return str(caught.value)


def test_what_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(TypeError), atomic_write(tmp_path / "a") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert content(tmp_path) == {"a": b"before"}


def test_ctrl_c_ends_it_with_the_word_how_to_go_on(folder: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *options(folder, tmp_path)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    wait_for(lambda: any(tmp_path.glob("train-*.json")), every=0.05)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: all of its processes
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command resumes with them" in said
    assert "Traceback" not in said
    assert not (tmp_path / "shards.json").exists()
    command("prepare", *options(folder, tmp_path))
    assert content(tmp_path) == whole


SLOWLY = """
import runpy, sys, time
from ddpm_lightning.studies.prepare import writing
fast = writing.encode
writing.encode = lambda *image: (time.sleep(0.2), fast(*image))[1]
sys.argv[0] = "prepare.py"
runpy.run_path("prepare.py", run_name="__main__")
"""
"""The command, with time to press Ctrl-C."""


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_told_and_the_command_goes_on(
    folder: Path, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for want of memory, or by a damaged database."""
    with patch.object(writing, "encode", die):
        said = error_of(capsys, "prepare", *options(folder, tmp_path))
    assert "a process that converts images was killed" in said
    command("prepare", *options(folder, tmp_path))
    assert content(tmp_path) == whole


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_is_told(folder: Path, workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tarfile.TarFile.addfile", full_disk):
        said = error_of(capsys, "prepare", *options(folder, tmp_path, workers))
    assert "cannot be written (No space left on device); make room, then give the same command" in said
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".tmp"] == ["recipe.json"]


def test_other_options_in_the_same_folder_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("prepare", *options(folder, tmp_path))
    before = content(tmp_path)
    others = write_folder(tmp_path.parent / "others", 20)
    for other, words in (
        (["data.side=8"], "holds images of another side (16) than this command's (8)"),
        (["data.channels=1"], "another channels (3)"),
        (["images_per_shard=5"], "another images_per_shard (4)"),
        ([f"data.root={others}"], "another train split"),
        (["data.test_every=5"], "another train split"),
    ):
        named = {option.partition("=")[0] for option in other}
        kept = [option for option in options(folder, tmp_path) if option.partition("=")[0] not in named]
        assert words in error_of(capsys, "prepare", *kept, *other)
    assert content(tmp_path) == before


def test_where_every_image_is_broken_nothing_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lsun(tmp_path / "bedroom_train_lmdb", [b"no", b"image"])
    write_lsun(tmp_path / "bedroom_val_lmdb", [encoded(picture(0))])
    said = error_of(capsys, "prepare", "data=lsun", f"data.root={tmp_path}", f"into={tmp_path}/shards", "workers=1")
    assert "no image of the train split can be read" in said
    assert not (tmp_path / "shards" / "shards.json").exists()


@pytest.mark.parametrize(
    ("mistakes", "words"),
    [
        (["data.root=nowhere", "into={folder}/x"], "nowhere is not a folder"),
        (["data.root={folder}"], "add into=PATH"),
        (["into={folder}/x"], "data.root"),
        (["data=digits", "into={folder}/x"], "is no EncodedImagesDataModule"),
        (["data=shards", "data.root={folder}", "into={folder}/x"], "data=shards are shards already"),
        (["data.root={folder}", "into={folder}/x", "workers=-1"], "workers=-1 is not a whole number"),
        (["data.root={folder}", "into={folder}/x", "images_per_shard=0"], "images_per_shard=0"),
        (["data.root={folder}", "into={folder}"], "holds images but no recipe.json"),
        (["data.root={folder}", "into={folder}/007.png"], "cannot be written"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    folder: Path, mistakes: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    assert words in error_of(capsys, "prepare", *(mistake.format(folder=folder) for mistake in mistakes))
    assert sorted(folder.iterdir()) == before


def test_the_recipe_knows_whose_images_they_are(whole: dict[str, bytes]) -> None:
    assert sorted(json.loads(whole["recipe.json"])) == [
        "channels",
        "images_per_shard",
        "side",
        "test split",
        "train split",
    ]
    assert conversion.SPLITS == ("train", "test")
