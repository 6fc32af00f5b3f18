"""Our path to FID, IS, KID, precision and recall against torch-fidelity's own command line, and torchmetrics."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.image_sets import Given
from ddpm_lightning.metrics.extractor import Extracted, extract_all, sha256_of
from ddpm_lightning.metrics.inception import FILE, Inception
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import FrechetDistance
from tests.commands import command, results
from tests.metrics.inception_weights import write_random_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / FILE)


def folder_of_images(folder: Path, n: int, brightest: int) -> Path:
    """n blotchy colour pictures of 16×16 pixels."""
    folder.mkdir()
    draws = np.random.default_rng(brightest)
    for number in range(n):
        blotches = draws.integers(0, brightest, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blotches).resize((16, 16), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.png")
    return folder


def torch_fidelity(one: Path, other: Path, weights: Path, *metrics: str) -> dict[str, float]:
    """What `fidelity` says."""
    call = [sys.executable, "-m", "torch_fidelity.fidelity", "--json", "--silent", "--cpu", "--no-cache"]
    call += ["--input1", str(one), "--input2", str(other), "--kid-subset-size", "10"]
    call += ["--feature-extractor", Inception.name, "--feature-extractor-weights-path", str(weights)]
    said = subprocess.run([*call, *metrics], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return dict(json.loads(said.stdout[said.stdout.index("{") :]))


def ours(one: Path, other: Path, weights: Path) -> float:
    extractor = Inception(str(weights))
    real = Reference(extract_all(extractor, Given(other).batches()).features)
    return FrechetDistance()(extract_all(extractor, Given(one).batches()), real)[0].value


@pytest.mark.slow
def test_every_number_equals_torch_fidelitys_command_line(weights: Path, tmp_path: Path) -> None:
    one, other = folder_of_images(tmp_path / "one", 24, 200), folder_of_images(tmp_path / "other", 30, 255)
    theirs = torch_fidelity(one, other, weights, "--isc", "--kid", "--prc", "--fid")
    command(
        "evaluate",
        *(f"images={one}", f"reference={other}", f"inception_weights={weights}", "metrics=[isc,kid,prc]"),
        *("metrics.kid.score.subset_size=10", f"hydra.run.dir={tmp_path / 'out'}"),
    )
    suffix = f"_{sha256_of(weights)[:8]}_images"
    kid = f"_subset_size10{suffix}"
    found = {name: record["value"] for name, record in results(tmp_path / "out")["metrics"].items()}
    assert found == pytest.approx(
        {
            f"isc_24{suffix}": theirs["inception_score_mean"],
            f"kid_24_given{kid}": theirs["kernel_inception_distance_mean"],
            f"precision_24_given{suffix}": theirs["precision"],
            f"recall_24_given{suffix}": theirs["recall"],
        },
        rel=1e-6,
        abs=1e-9,
    )
    assert ours(one, other, weights) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    assert theirs["frechet_inception_distance"] > 1e-3  # the random network tells the folders apart


class Given64(nn.Module):
    """Stands in for a network: its images are the features."""

    num_features = 64

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_torchmetrics_without_antialiasing_sees_the_same_features_and_the_same_distance(weights: Path) -> None:
    """FID by torchmetrics is features and a distance between them: each equals ours. (Whole, on more images than the
    2048 features, it would take half an hour.)"""
    images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    metric = FrechetInceptionDistance(feature_extractor_weights_path=str(weights), antialias=False)
    theirs = metric.inception(images)
    assert torch.allclose(Inception(str(weights))(images), theirs, rtol=1e-6, atol=1e-6 * float(theirs.abs().max()))

    one, other = torch.randn(500, 64), 1.3 * torch.randn(400, 64) + 0.2
    distance = FrechetInceptionDistance(Given64(), antialias=False)
    distance.update(one, real=False)
    distance.update(other, real=True)
    ours_ = FrechetDistance()(Extracted(one, one), Reference(other))[0].value
    assert ours_ == pytest.approx(float(distance.compute()), rel=1e-6)


def test_grey_images_are_colour_images_of_one_colour(weights: Path) -> None:
    grey = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    extractor = Inception(str(weights))
    assert torch.equal(extractor(grey), extractor(grey.expand(-1, 3, -1, -1)))
    with pytest.raises(UserError, match="images of 2 channels"):
        extractor.extract(torch.zeros(1, 2, 8, 8, dtype=torch.uint8))


def test_without_network_the_error_names_file_place_and_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(UserError, match=r"no route to host.*checkpoints/weights-inception.*inception_weights=PATH"):
        Inception()


def test_weights_in_torch_hubs_cache_are_found(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / FILE).write_bytes(weights.read_bytes())
    assert Inception().fingerprint == Inception(str(weights)).fingerprint


@pytest.mark.parametrize("content", ["other weights", "no weights", "code"])
def test_wrong_weights_are_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.zeros(3)} if content == "other weights" else {"code": Path("x")}, path)
    if content == "no weights":
        path.write_text("<html>not found</html>")
    with pytest.raises(UserError, match="does not hold the weights") as caught:
        Inception(str(path))
    assert str(path) in str(caught.value)


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.pth of Inception's weights"):
        Inception(str(tmp_path / "nowhere.pth"))
