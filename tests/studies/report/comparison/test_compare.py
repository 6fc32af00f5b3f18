"""`ddpm compare RUN RUN`: differences with their errors, against errors by hand; the page; what differs."""

import csv
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_lightning.metrics.classifier import DataSetClassifier
from ddpm_lightning.metrics.extractor import extract_all
from ddpm_lightning.metrics.jackknife import standard_error
from ddpm_lightning.metrics.reference import frechet_distance, load_reference, statistics_of
from ddpm_lightning.studies.report.comparison.number_differences import NumberDifference, compared
from ddpm_lightning.studies.report.comparison.paired_images import GROUPS
from ddpm_lightning.studies.report.single.numbers import MeasuredNumber
from tests.commands import SMALL, command, error_of, results, train
from tests.studies.runs.folders import copied

BITS = "test/bpd_beta_estimate"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and a copy of it with another seed, learning rate and numbers."""
    first = train(tmp_path_factory.mktemp("runs") / "first")
    second = copied(first, first.with_name("second"), {"fid_50k_train": 4.0}, seed=7, lr=0.5)
    outcome = results(second)
    outcome["metrics"][BITS]["value"] += 100
    (second / "results.json").write_text(json.dumps(outcome))
    shutil.copytree(first / "samples", second / "samples")
    return first, second


def test_a_comparison_has_the_numbers_of_the_files(runs: tuple[Path, Path], tmp_path: Path) -> None:
    command("compare", *map(str, runs), f"into={tmp_path / 'made' / 'here'}", "by_images=false")
    with (tmp_path / "made" / "here" / "comparison.csv").open(newline="") as file:
        rows = {(row["number"], row["run"]): row for row in csv.DictReader(file)}
    record = results(runs[0])["metrics"][BITS]
    row = rows[BITS, str(runs[1])]
    assert float(row["difference"]) == pytest.approx(100)
    assert float(row["error of difference"]) == pytest.approx(math.sqrt(2) * record["standard_error"])
    assert (row["paired"], row["verdict"]) == ("False", "beyond noise")
    assert float(rows[BITS, str(runs[0])]["error"]) == record["standard_error"]
    assert rows["fid_50k_train", str(runs[1])]["difference"] == ""

    page = (tmp_path / "made" / "here" / "comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)(?!#)", page)
    assert '<td>optimizer.lr</td><td class="text">0.001</td><td class="text">0.5</td>' in page
    assert '<td>seed</td><td class="text">0</td><td class="text">7</td>' in page
    assert "run_dir" not in page
    assert "| optimizer.lr | 0.001 | 0.5 |" in (tmp_path / "made" / "here" / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (NumberDifference(0.19, 0.1), "within noise"),
        (NumberDifference(-0.2, 0.1), "beyond noise"),
        (NumberDifference(3.0, None), "error not known"),
        (NumberDifference(0.0, None), "equal"),
        (NumberDifference(math.nan, 0.1), "not a number"),
    ],
)
def test_a_difference_is_judged_by_its_error(difference: NumberDifference, verdict: str) -> None:
    assert difference.verdict == verdict


def test_errors_of_pairs_take_precedence() -> None:
    first, second = ({"fd": MeasuredNumber("fd", {"value": v, "standard_error": 1.0})} for v in (5.0, 4.0))
    (alone,), (paired,) = ([*compared([first, second], [{}, each])] for each in ({}, {"fd": 0.1}))
    assert alone.differences == (None, NumberDifference(-1.0, math.sqrt(2)))
    assert paired.differences == (None, NumberDifference(-1.0, 0.1, paired=True))


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = torch.randn(GROUPS, dtype=torch.float64)
    without = torch.stack([x[torch.arange(GROUPS) != i].mean() for i in range(GROUPS)])
    assert standard_error(without) == pytest.approx(float(x.std() / GROUPS**0.5))


def test_mistakes_are_told_in_a_sentence(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = map(str, runs)
    assert "needs two folders or more" in error_of(capsys, "compare", first)
    assert "each of another run" in error_of(capsys, "compare", first, first)
    assert "ddpm compare RUN RUN" in error_of(capsys, "compare")
    assert "is no folder of a run" in error_of(capsys, "compare", first, f"{tmp_path}/none")
    shutil.copytree(runs[0] / ".hydra", tmp_path / "new" / ".hydra")
    assert "has no numbers of train.py" in error_of(capsys, "compare", first, f"{tmp_path}/new")
    assert "neither true nor false" in error_of(capsys, "compare", first, second, "by_images=3")


@pytest.mark.slow
def test_images_of_the_same_noise_are_paired(tmp_path: Path) -> None:
    """The error by hand: Fréchet distances without each group of images, of both runs."""
    small = [option for option in SMALL if not option.startswith("data")]
    options = [*small, "data=digits", "quality=none", "metrics=[fd_digits]", "evaluation.num_images=70"]
    without = []
    for loss in ("simple", "elbo"):
        where = [f"hydra.run.dir={tmp_path / loss}", f"evaluation.cache={tmp_path}/cache", f"loss={loss}"]
        command("train", *options, *where)
        without.append(distances_without_groups(tmp_path / loss, next(tmp_path.glob("cache/*/*.npz"))))
    command("compare", f"{tmp_path}/simple", f"{tmp_path}/elbo", f"into={tmp_path}/into")
    with (tmp_path / "into" / "comparison.csv").open(newline="") as file:
        first, second = [row for row in csv.DictReader(file) if row["number"] == "fd_digits_70_train"]
    assert second["paired"] == "True"
    assert float(second["error of difference"]) == pytest.approx(standard_error(without[1] - without[0]), rel=1e-6)
    assert float(first["error"]) == pytest.approx(standard_error(without[0]), rel=1e-6)


def distances_without_groups(run: Path, reference: Path) -> torch.Tensor:
    """Fréchet distances of the images that a run kept, without every 20th image, [20]."""
    extractor = DataSetClassifier("digits")
    (shard,) = run.glob("generated/*/*.npz")
    features = extract_all(extractor, [torch.from_numpy(np.load(shard)["images"])]).features
    real = load_reference(reference, extractor.num_features).statistics
    groups = torch.arange(len(features)) % GROUPS
    kept = (features[groups != group] for group in range(GROUPS))
    return torch.tensor([frechet_distance(statistics_of(each), real) for each in kept], dtype=torch.float64)
