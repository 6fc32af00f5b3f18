"""The numbers while it trains: of averaged weights, on all processes, without a trace in the training."""

from pathlib import Path

import lightning as L
import pytest
import torch

from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.commands import SMALL, command, error_of, results, train
from tests.evaluation.test_evaluate import LIKE_DIGITS

QUALITY = (
    *LIKE_DIGITS,
    "quality=digits",
    "callbacks.quality.num_images=70",
    "callbacks.quality.every_n_steps=2",
    "callbacks.quality.sampler.num_steps=4",
    "callbacks.bound.every_n_steps=2",
)
NAME = "fd_digits_70_train_ddim4"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("callbacks.ema.decay=0.9", "optimizer.lr=0.05", "callbacks.quality.raw=true", "callbacks.bound.raw=true")
    return train(tmp_path_factory.mktemp("run"), *QUALITY, *options)


@pytest.mark.parametrize(("suffix", "use_ema"), [("", "true"), ("_raw", "false")])
def test_it_scores_the_weights_that_it_names(run: Path, tmp_path: Path, suffix: str, use_ema: str) -> None:
    """What evaluate.py finds by torch-fidelity, from the checkpoint's averaged and raw weights."""
    command(
        "evaluate",
        *(f"checkpoint={run / 'checkpoints' / 'last.ckpt'}", f"hydra.run.dir={tmp_path}", f"cache={tmp_path}"),
        *("metrics=[fd_digits]", "num_images=70", "sampler=ddim", "sampler.num_steps=4", f"use_ema={use_ema}"),
    )
    found = results(tmp_path)["metrics"][NAME + suffix]
    during = results(run)["metrics"][NAME + suffix]
    assert during["value"] == pytest.approx(found["value"], rel=1e-4)
    assert during["weights"] == found["weights"]
    assert during["extractor_sha256"] == found["extractor_sha256"]
    assert during["step"] == 4


def test_averaged_and_raw_weights_differ_and_both_are_logged_by_step(run: Path) -> None:
    rows = read_rows(run / "metrics.csv")
    for name in (NAME, f"{NAME}_raw", "val/bpd_beta", "val/bpd_beta_raw"):
        assert [row["step"] for row in rows if row.get(name)] == ["2", "4"], name
    last = {name: float(next(row[name] for row in reversed(rows) if row.get(name))) for name in (NAME, "val/bpd_beta")}
    raw = {name: float(next(row[f"{name}_raw"] for row in reversed(rows) if row.get(f"{name}_raw"))) for name in last}
    assert all(abs(last[name] - raw[name]) > 1e-6 for name in last)


@pytest.mark.slow
def test_training_is_not_disturbed(tmp_path: Path) -> None:
    """The same weights to the last bit, with all of it and with none of it, dropout included."""
    with_ = train(tmp_path / "with", *QUALITY, "network.dropout=0.1")
    without = train(tmp_path / "without", *LIKE_DIGITS, "network.dropout=0.1", "quality=none", "callbacks.bound=null")
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (with_, without))
    for part in ("state_dict", "ema"):
        assert one[part].keys() == other[part].keys()
        assert all(torch.equal(one[part][name], other[part][name]) for name in one[part])


def test_validation_always_has_the_same_images_t_and_noise(tmp_path: Path) -> None:
    """A model that does not learn has one validation bound, to the last bit."""
    run = train(tmp_path, "optimizer.lr=1e-30", "callbacks.bound.every_n_steps=1", "callbacks.bound.num_images=10")
    values = [row["val/bpd_beta"] for row in read_rows(run / "metrics.csv") if row["val/bpd_beta"]]
    assert len(values) == 4
    assert len(set(values)) == 1


class Diverge(L.Callback):
    """The weights become NaN before the end."""

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        if trainer.global_step == 3:
            for parameter in module.parameters():
                parameter.data.fill_(float("nan"))


def test_a_model_that_makes_nan_has_no_distance(tmp_path: Path) -> None:
    diverge = "+callbacks.diverge._target_=tests.training.test_quality.Diverge"
    record = results(train(tmp_path, *QUALITY, diverge, "callbacks.ema=null"))["metrics"][f"{NAME}_raw"]
    assert record["value"] == "nan"
    assert "not finite" in record["warning"]


WRONG = [
    ("callbacks.quality.num_images=64", "callbacks.quality.num_images=64"),
    ("callbacks.quality.every_n_steps=0", "callbacks.quality.every_n_steps=0"),
    ("callbacks.quality.sampler.num_steps=0", "num_steps"),
    ("data.num_images=64", "64 training images do not exceed"),
    ("data.size=[4,4]", "cannot be judged by classifier_digits"),
    ("callbacks.bound.strata=1", "callbacks.bound.strata=1"),
    ("callbacks.bound.num_images=0", "callbacks.bound.num_images=0"),
]


@pytest.mark.parametrize(("mistake", "words"), WRONG)
def test_wrong_options(mistake: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, *QUALITY, mistake)
