"""sample.py that was stopped: finished images are on disk, the same command resumes, memory does not grow."""

import io
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.sample_files import NPZOutput, Output, PNGOutput
from ddpm_lightning.npz import write_stream
from ddpm_lightning.typing import Pixels
from tests.cli.test_sample import checkpoint
from tests.commands import command, error_of

__all__ = ["checkpoint"]


def options(checkpoint: Path, folder: Path, *more: str) -> list[str]:
    """Seven images in batches of two."""
    return [f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", "num_images=7", "batch_size=2", *more]


def stopped_at(first: int, monkeypatch: pytest.MonkeyPatch, *typed: str) -> int | str | None:
    """How sample.py ends if Ctrl-C is pressed while it makes this image."""
    original = Generated._make

    def stopped(self: Generated, fabric: Any, numbers: range, bar: Any) -> Any:
        if first in numbers:
            signal.raise_signal(signal.SIGINT)
        return original(self, fabric, numbers, bar)

    with monkeypatch.context() as patched:
        patched.setattr(Generated, "_make", stopped)
        with pytest.raises(SystemExit) as ended:
            command("sample", *typed)
    return ended.value.code


def made_by(monkeypatch: pytest.MonkeyPatch, *typed: str) -> list[range]:
    """The numbers of the images that sample.py makes, batch by batch."""
    original, made = Generated._make, []

    def noted(self: Generated, fabric: Any, numbers: range, bar: Any) -> Any:
        made.append(numbers)
        return original(self, fabric, numbers, bar)

    with monkeypatch.context() as patched:
        patched.setattr(Generated, "_make", noted)
        command("sample", *typed)
    return made


def files(folder: Path) -> dict[str, bytes]:
    """What sample.py wrote, besides its configuration and log."""
    paths = [path for path in folder.rglob("*") if path.suffix in (".png", ".npz", ".json") and path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


@pytest.mark.parametrize("output", ["grid", "npz", "png"])
def test_a_stopped_command_says_how_to_resume_and_resumes_to_the_same_bytes(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    command("sample", *options(checkpoint, tmp_path / "whole", f"output={output}"))
    typed = options(checkpoint, tmp_path / "stopped", f"output={output}")
    capsys.readouterr()
    assert stopped_at(5, monkeypatch, *typed) == 128 + signal.SIGINT
    assert "Stopped with 4 of 7 images done" in (said := capsys.readouterr().out)
    assert f"to resume, give the same options with hydra.run.dir={tmp_path}/stopped" in said
    assert {"generated/000000-000001.npz", "generated/000002-000003.npz"} <= files(tmp_path / "stopped").keys()
    assert made_by(monkeypatch, *typed) == [range(4, 6), range(6, 7)]
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_a_command_that_stopped_before_its_first_batch_names_no_finished_images(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_at(0, monkeypatch, *options(checkpoint, tmp_path))
    assert "Stopped with 0 of 7 images done" in (said := capsys.readouterr().out)
    assert "finished images" not in said


def test_pictures_are_there_while_others_are_made(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(4, monkeypatch, *options(checkpoint, tmp_path, "output=png"))
    assert [path.name for path in sorted((tmp_path / "images").iterdir())] == [f"0000{n}.png" for n in range(4)]


def test_a_smaller_set_can_be_looked_at_before_the_larger_one_is_finished(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(4, monkeypatch, *options(checkpoint, tmp_path))
    assert made_by(monkeypatch, *options(checkpoint, tmp_path, "num_images=3")) == []
    assert (tmp_path / "grid.png").exists()
    assert made_by(monkeypatch, *options(checkpoint, tmp_path)) == [range(4, 6), range(6, 7)]


def test_another_command_does_not_overwrite_what_can_be_resumed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_at(4, monkeypatch, *options(checkpoint, tmp_path))
    before = files(tmp_path)
    said = error_of(capsys, "sample", *options(checkpoint, tmp_path, "seed=1"))
    assert "holds images of another seed (0) than this command's (1); choose another folder with hydra.run.dir=" in said
    assert files(tmp_path) == before


def test_finished_images_are_not_made_again_and_not_overwritten_by_others(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = options(checkpoint, tmp_path, "output=png", "sampler=ddim", "sampler.num_steps=4")
    command("sample", *typed)
    before = files(tmp_path)
    assert made_by(monkeypatch, *typed) == []
    assert f"These images are finished: {tmp_path}/images" in capsys.readouterr().out
    for other, words in {
        "seed=1": "another seed (0) than this command's (1)",
        "sampler=ancestral": "another sampler (DDIMSampler) than this command's (AncestralSampler)",
        "sampler.eta=0.5": "another sampler.eta (0.0) than this command's (0.5)",
        "use_ema=false": "another weights_sha256",
        "num_images=6": "num_images=6 would overwrite the 7 images in",
    }.items():
        said = error_of(capsys, "sample", *typed, other)
        assert words in said
        assert "choose another folder with hydra.run.dir=PATH, or delete it" in said
        assert files(tmp_path) == before
    assert made_by(monkeypatch, *typed, "num_images=9")[0].start == 0
    after = files(tmp_path)
    assert len(list((tmp_path / "images").iterdir())) == 9
    assert all(after[name] == content for name, content in before.items() if name.endswith(".png"))
    (tmp_path / "recipe.json").unlink()
    assert "holds images but no recipe.json" in error_of(capsys, "sample", *typed)
    assert files(tmp_path) | {"recipe.json": after["recipe.json"]} == after


@pytest.mark.parametrize("output", [PNGOutput(), NPZOutput()], ids=["png", "npz"])
def test_no_more_than_two_batches_are_in_memory(tmp_path: Path, output: Output) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def batches() -> Iterator[Pixels]:
        for number in range(9):
            assert sum(reference() is not None for reference in alive) <= 2
            batch = torch.full((4, 1, 2, 3), number, dtype=torch.uint8)
            alive.append(weakref.ref(batch))
            yield batch

    output.write(batches(), 36, tmp_path)
    assert len(alive) == 9


@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (70, 5, 4, 1), (5000, 3, 4, 3)])
def test_an_npz_written_in_parts_is_that_of_numpy(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 17, shape, dtype=np.uint8)
    write_stream(tmp_path / "ours.npz", "images", shape, np.array_split(images, 7))
    theirs = io.BytesIO()
    np.savez_compressed(theirs, images=images)
    assert (tmp_path / "ours.npz").read_bytes() == theirs.getvalue()
    assert len(list(tmp_path.iterdir())) == 1
