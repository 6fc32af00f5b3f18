"""Integers to [−1, 1] and back."""

import pytest
import torch

from ddpm_lightning.data.pixels import PixelRange


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_every_level_survives_the_round_trip(levels: int) -> None:
    pixels = torch.arange(levels, dtype=torch.uint8).reshape(1, 1, 1, -1)
    scale = PixelRange(levels)
    x = scale.encode(pixels)
    assert (x.min(), x.max()) == (-1, 1)
    assert torch.equal(scale.decode(x), pixels)


def test_256_levels_are_the_papers_scale() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.allclose(PixelRange(256).encode(pixels), pixels.float() / 127.5 - 1, atol=1e-6)


def test_decoding_rounds_and_does_not_truncate() -> None:
    x = PixelRange(256).encode(torch.full((1, 1, 1, 1), 100, dtype=torch.uint8))
    nearly = torch.cat([x - 0.45 / 127.5, x + 0.45 / 127.5])
    assert PixelRange(256).decode(nearly).flatten().tolist() == [100, 100]


def test_what_lies_outside_becomes_the_nearest_end() -> None:
    x = torch.tensor([-7.0, 1.0001, 300.0]).reshape(1, 1, 1, 3)
    assert PixelRange(17).decode(x).flatten().tolist() == [0, 16, 16]


def test_picture_files_have_the_full_range_of_bytes() -> None:
    scale = PixelRange(17)
    assert scale.to_bytes(torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)).flatten().tolist() == [0, 128, 255]
