"""Sizes that would fill the memory, or take for ever, are answered before anything is built."""

from pathlib import Path

import pytest

from tests.commands import SMALL, error_of


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("schedule.T=1000000000", "T=1000000000 exceeds 1000000: the decoder needs β̃_2, and an image T network calls"),
        ("data.num_images=1000000000", "numbers in data=16000000000 exceeds"),
        ("data.size=[1000000,1000000]", "numbers in data="),
        ("data.size=[4,4,4]", "is not a height and a width"),
        ("data.num_workers=1000000", "data.num_workers=1000000 exceeds 256"),
        ("network.channels=1000000", "the network would have"),
        ("network.num_res_blocks=1000000000", "network.num_res_blocks=1000000000 exceeds 100"),
        ("network.multipliers=[1,100000]", "the network would have"),
        ("module.test_strata=1000000000", "module.test_strata=1000000000 exceeds 10000"),
        ("callbacks.bound.strata=1000000000", "callbacks.bound.strata=1000000000 exceeds 10000"),
        ("callbacks.grid.num_images=1000000000", "callbacks.grid.num_images=1000000000 exceeds 4096"),
        ("trainer.accumulate_grad_batches=1000000000", "trainer.accumulate_grad_batches=1000000000 exceeds 10000"),
        ("trainer.devices=1000000", "trainer.devices=1000000 exceeds 64"),
        ("trainer.devices='1000000'", "trainer.devices=1000000 exceeds 64"),
        (f"seed={2**64}", f"seed={2**64} exceeds {2**63 - 1}"),
        ("data.channels=7", "images of 7 channels cannot be drawn"),
        ("experiment=null", "Config group override must be a string"),
    ],
)
def test_sizes_out_of_bounds(mistake: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, mistake)
    assert not (tmp_path / "checkpoints").exists()
