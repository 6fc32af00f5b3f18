"""Images with an alpha channel that are not square: trained on, drawn and sampled."""

from pathlib import Path

import numpy as np
from PIL import Image

from ddpm_lightning.evaluation.image_sets import Given
from tests.commands import SMALL, command

WITHOUT_DATA = [option for option in SMALL if not option.startswith("data")]


def test_rgba_images_that_are_not_square(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "images"
    folder.mkdir()
    for number in range(10):
        Image.new("RGBA", (20, 20), (25 * number, 0, 0, 255)).save(folder / f"{number}.png")
    data = ["data=image_folder", f"data.root={folder}", "data.channels=4", "data.side=[4,8]", "data.num_workers=0"]
    options = [*WITHOUT_DATA, *data, "data.batch_size=4", "callbacks.bound=null", "trainer.max_steps=2"]
    command("train", f"hydra.run.dir={run}", *options)
    with Image.open(run / "samples" / "grid_final.png") as grid:
        assert grid.mode == "RGBA"
        assert grid.width > grid.height * 1.5  # 2 × 2 images, twice as wide as high
    sample = [f"checkpoint={run}/checkpoints/last.ckpt", "num_images=3", "sampler=ddim", "sampler.num_steps=2"]
    for output in ("npz", "png"):
        command("sample", f"hydra.run.dir={tmp_path / output}", *sample, f"output={output}")
    images = np.load(tmp_path / "npz" / "samples.npz")["images"]
    assert images.shape == (3, 4, 8, 4)
    for number, image in enumerate(images):
        assert np.array_equal(np.array(Image.open(tmp_path / "png" / "images" / f"{number:05d}.png")), image)
    (seen,) = Given(tmp_path / "png" / "images", background="black").batches()
    assert seen.shape == (3, 3, 4, 8)
    assert np.abs(seen.permute(0, 2, 3, 1).numpy() - images[..., :3] * (images[..., 3:] / 255)).max() <= 1
