"""`figure=[restoration]`: the simple fillings, and the numbers that it writes."""

from pathlib import Path

import pytest
import torch

from ddpm_lightning.studies.figures.restoration.fillings import nearest_image, nearest_pixel
from tests.commands import command, results, train


def test_the_nearest_pixel_and_the_nearest_image() -> None:
    image = torch.tensor([[1.0, 2.0, 9.0, 9.0], [3.0, 4.0, 9.0, 9.0]])[None, None]
    known = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(1, 1, 2, 4)
    assert nearest_pixel(image, known)[0, 0].tolist() == [[1, 2, 2, 2], [3, 4, 4, 4]]
    like, unlike = image + 0.1, image - 2
    like[..., 2:] = 7.0
    for batches in ([like, unlike], [unlike, like], [torch.cat([unlike, like])]):
        assert nearest_image(image, known, batches)[0, 0].tolist() == [[1, 2, 7, 7], [3, 4, 7, 7]]


@pytest.mark.slow
def test_the_figure_measures_four_ways(tmp_path: Path) -> None:
    checkpoint = train(tmp_path / "run") / "checkpoints" / "last.ckpt"
    options = ["figure.restoration.num_images=5", "figure.restoration.num_rows=2", "sampler=ddim", "batch_size=3"]
    command("figure", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", "figure=[restoration]", *options)
    assert (tmp_path / "restoration.png").is_file()
    errors = {name: record for name, record in results(tmp_path)["metrics"].items() if "_rmse_5" in name}
    assert len(errors) == 4
    assert all(0 < record["value"] < 255 for record in errors.values())
