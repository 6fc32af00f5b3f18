"""Images on disk: the same set however it is made, nothing made twice, nothing mixed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.generated_shards import GeneratedShards, digest


def images(numbers: range) -> torch.Tensor:
    """One pixel an image, which is the image's number."""
    return torch.tensor(list(numbers), dtype=torch.uint8).reshape(-1, 1, 1, 1)


def read(shards: GeneratedShards, n: int) -> list[int]:
    return [int(number) for batch in shards.read(n) for number in batch.flatten()]


@pytest.mark.parametrize("at_once", [1, 3, 8, 100])
def test_what_is_missing_is_made_in_runs_and_read_in_order(tmp_path: Path, at_once: int) -> None:
    shards = GeneratedShards(tmp_path)
    for numbers in reversed(shards.missing(range(20), at_once)):
        assert len(numbers) <= at_once
        shards.write(numbers, images(numbers))
    assert shards.missing(range(20), at_once) == []
    assert read(shards, 20) == list(range(20))
    assert read(shards, 7) == list(range(7))


def test_a_killed_run_goes_on_at_another_batch_size_and_a_larger_set_grows(tmp_path: Path) -> None:
    shards = GeneratedShards(tmp_path)
    shards.write(range(4, 8), images(range(4, 8)))
    assert shards.missing(range(13), 5) == [range(0, 4), range(8, 13)]
    for numbers in shards.missing(range(13), 5):
        shards.write(numbers, images(numbers))
    assert shards.missing(range(30), 100) == [range(13, 30)]
    assert read(shards, 13) == list(range(13))


def test_a_shard_half_written_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: Any, **kwargs: Any) -> None:
        args[0].write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", killed)
    with pytest.raises(KeyboardInterrupt):
        GeneratedShards(tmp_path).write(range(4), images(range(4)))
    assert GeneratedShards(tmp_path).missing(range(4), 4) == [range(4)]


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "000000-000003.npz").write_bytes(b"noise")
    with pytest.raises(UserError, match=r"000000-000003.npz cannot be read .* delete it"):
        list(GeneratedShards(tmp_path).read(4))


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    GeneratedShards(tmp_path).open({"seed": 0, "sampler": {"eta": 0.0}})
    GeneratedShards(tmp_path).open({"seed": 0, "sampler": {"eta": 0.0}})
    with pytest.raises(UserError, match=r"holds images of another seed \(0\) than this command's \(1\)"):
        GeneratedShards(tmp_path).open({"seed": 1, "sampler": {"eta": 0.0}})


def test_shards_that_overlap_are_read_once(tmp_path: Path) -> None:
    """As two commands at once would leave them."""
    shards = GeneratedShards(tmp_path)
    for numbers in (range(0, 8), range(0, 5), range(5, 10), range(8, 20)):
        shards.write(numbers, images(numbers))
    assert read(shards, 15) == list(range(15))


def test_a_shard_that_is_not_what_its_name_says_is_named(tmp_path: Path) -> None:
    GeneratedShards(tmp_path).write(range(4), images(range(3)))
    with pytest.raises(UserError, match="holds 3 images, not the 4 of its name"):
        list(GeneratedShards(tmp_path).read(4))


def test_strange_files_do_not_matter_but_images_without_a_recipe_do(tmp_path: Path) -> None:
    (tmp_path / "2024-01-05.npz").write_bytes(b"")
    GeneratedShards(tmp_path).open({"seed": 0})
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        GeneratedShards(tmp_path).open({"seed": 0})
    (tmp_path / "recipe.json").unlink()
    GeneratedShards(tmp_path).write(range(4), images(range(4)))
    with pytest.raises(UserError, match="holds images but no recipe"):
        GeneratedShards(tmp_path).open({"seed": 0})


def test_digest_knows_every_weight_and_name() -> None:
    weights = {"a": torch.zeros(3), "b": torch.ones(2)}
    assert digest(weights) == digest(dict(reversed(weights.items())))
    assert digest(weights) != digest({"a": torch.zeros(3), "c": torch.ones(2)})
    assert digest(weights) != digest({"a": torch.tensor([0.0, 0.0, 1e-9]), "b": torch.ones(2)})
    assert digest(weights) != digest(weights | {"counted": torch.tensor(7)}), "a number alone, as BatchNorm keeps it"


def test_removed_shards_leave_what_is_not_theirs(tmp_path: Path) -> None:
    shards = GeneratedShards(tmp_path / "shards")
    shards.open({"seed": 0})
    shards.write(range(4), images(range(4)))
    (shards.folder / "000004-000007.npz.machine.17.tmp").write_bytes(b"half a shard of a killed process")
    (shards.folder / "mine.npz").touch()
    shards.remove()
    assert [path.name for path in shards.folder.iterdir()] == ["mine.npz"]
    (shards.folder / "mine.npz").unlink()
    shards.open({"seed": 0})
    shards.remove()
    assert not shards.folder.exists()
