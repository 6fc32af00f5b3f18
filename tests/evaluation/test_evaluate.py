"""`python evaluate.py`, whole: what it writes, one process and two, going on after a kill, and wrong input."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning.configuration.build import make, real_images
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.metrics.extractor import sha256_of
from ddpm_lightning.metrics.inception import FILE
from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.commands import command, error_of, results, train
from tests.metrics.inception_weights import write_random_weights

LIKE_DIGITS = ("data.size=[8,8]", "data.num_images=81", "callbacks.grid=null", "callbacks.strip=null")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = (*LIKE_DIGITS, "optimizer.lr=0.05", "schedule.beta_T=0.6", "variance=learned_range", "loss=hybrid")
    return train(tmp_path_factory.mktemp("run"), *options) / "checkpoints" / "last.ckpt"


def options(checkpoint: Path, folder: Path, *more: str) -> list[str]:
    where = [
        f"checkpoint={checkpoint}",
        f"hydra.run.dir={folder}",
        f"generated={folder}/images",
        f"cache={folder}/cache",
    ]
    return [*where, "num_images=70", "trainer.accelerator=cpu", *more]


def evaluate(checkpoint: Path, folder: Path, *more: str) -> dict[str, Any]:
    command("evaluate", *options(checkpoint, folder, *more))
    return dict(results(folder)["metrics"])


ALL = "metrics=[bpd,bpd_estimate,fd_digits,score_digits,prc_digits]"


@pytest.fixture(scope="module")
def found(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("evaluation")
    return folder, evaluate(checkpoint, folder, ALL)


def test_names_say_what_the_numbers_are(found: tuple[Path, dict[str, Any]]) -> None:
    assert found[1].keys() == {
        *(f"test/{name}_learned_range" for name in ("bpd", "prior", "rate", "distortion", "rmse")),
        "test/bpd_learned_range_estimate",
        "fd_digits_70_train",
        "score_digits_70",
        "precision_digits_70_train",
        "recall_digits_70_train",
    }


def test_every_number_has_its_provenance(found: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = found
    distance = metrics["fd_digits_70_train"]
    assert distance["sampler"]["_target_"].endswith("AncestralSampler")
    assert distance["num_images"] == 70
    assert distance["reference"] == "train split, not mirrored"
    assert len(distance["extractor_sha256"]) == 64
    for record in metrics.values():
        assert (record["step"], record["weights"], record["data"]) == (4, "ema", "FakeDataModule")
    assert metrics["test/bpd_learned_range"]["variance"] == "learned_range"
    whole = results(folder)
    assert whole["seed"] == 0
    assert {"torch", "torch-fidelity", "torchmetrics"} <= whole["libraries"].keys()
    assert whole["commit"]


def test_another_sampler_or_the_raw_weights_give_another_name(checkpoint: Path, tmp_path: Path) -> None:
    cheap = evaluate(checkpoint, tmp_path / "a", "metrics=[fd_digits]", "sampler=ddim", "sampler.num_steps=4")
    raw = evaluate(checkpoint, tmp_path / "b", "metrics=[fd_digits]", "use_ema=false")
    assert (list(cheap), list(raw)) == (["fd_digits_70_train_ddim4"], ["fd_digits_70_train_raw"])
    assert raw["fd_digits_70_train_raw"]["weights"] == "raw"


@pytest.mark.slow
def test_another_fixed_variance_is_that_of_a_model_that_was_trained_with_it(tmp_path: Path) -> None:
    """L_simple does not know of σ_t², so the weights are the same."""
    found = {}
    for variance, swap in (("beta_tilde", []), ("beta", ["variance=beta_tilde"])):
        last = train(tmp_path / variance, *LIKE_DIGITS, f"variance={variance}") / "checkpoints" / "last.ckpt"
        found[variance] = evaluate(last, tmp_path / f"of_{variance}", "metrics=[bpd,fd_digits]", *swap)
    assert found["beta"]["test/bpd_beta_tilde"]["value"] == found["beta_tilde"]["test/bpd_beta_tilde"]["value"]
    swapped, own = found["beta"]["fd_digits_70_train_ancestral_beta_tilde"], found["beta_tilde"]["fd_digits_70_train"]
    assert swapped["value"] == own["value"]
    assert swapped["variance"] == own["variance"] == "beta_tilde"


def all_images(folder: Path, n: int = 70) -> np.ndarray:
    return torch.cat(list(GeneratedShards(folder / "images").read(n))).numpy()


def test_the_set_does_not_depend_on_the_batch_size(
    checkpoint: Path, found: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    evaluate(checkpoint, tmp_path, "metrics=[fd_digits]", "batch_size=9")
    assert len(list((tmp_path / "images").glob("*.npz"))) == 8
    assert (all_images(tmp_path) == all_images(found[0])).mean() >= 0.999


@pytest.mark.slow
def test_two_processes_find_what_one_does(checkpoint: Path, found: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    evaluate(checkpoint, tmp_path, ALL, "batch_size=16", "trainer.devices=2")
    assert (all_images(tmp_path) == all_images(found[0])).mean() >= 0.999
    assert results(tmp_path)["metrics"].keys() == found[1].keys()
    for name, record in results(tmp_path)["metrics"].items():
        assert record["value"] == pytest.approx(found[1][name]["value"], rel=1e-2 if "_70" in name else 1e-5), name
        assert record["num_images"] == found[1][name]["num_images"]


def test_a_killed_generation_goes_on_and_a_finished_one_is_not_repeated(
    checkpoint: Path, found: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[range] = []
    make = Generated._make

    def killed_at_the_third(self: Generated, fabric: Any, numbers: range, bar: Any) -> Any:
        made.append(numbers)
        if len(made) == 3:
            raise KeyboardInterrupt
        return make(self, fabric, numbers, bar)

    monkeypatch.setattr(Generated, "_make", killed_at_the_third)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        evaluate(checkpoint, tmp_path, "metrics=[fd_digits]", "batch_size=20")
    evaluate(checkpoint, tmp_path, "metrics=[fd_digits]", "batch_size=20")
    assert made == [range(20), range(20, 40), range(40, 60), range(40, 60), range(60, 70)]
    evaluate(checkpoint, tmp_path, "metrics=[score_digits,prc_digits]", "batch_size=20")
    assert len(made) == 5
    assert (all_images(tmp_path) == all_images(found[0])).mean() >= 0.999


def test_finished_results_are_kept_and_those_of_other_options_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ("metrics=[bpd_estimate]", "metrics.bpd_estimate.strata=4")
    measured = evaluate(checkpoint, tmp_path, *first)
    before = (tmp_path / "results.json").read_bytes()
    evaluate(checkpoint, tmp_path, *first)
    assert f"These results are finished: {tmp_path}/results.json" in capsys.readouterr().out
    other = shutil.copy(train(tmp_path / "other", *LIKE_DIGITS) / "checkpoints" / "last.ckpt", tmp_path / "other.ckpt")
    for mistake, words in {
        "seed=1": "results of another seed (0) than this command's (1)",
        "sampler=ddim": "another sampler (AncestralSampler) than this command's (DDIMSampler)",
        "use_ema=false": "another use_ema (True)",
        "metrics.bpd_estimate.strata=5": "another bpd_estimate.strata (4) than this command's (5)",
        f"checkpoint={other}": "another checkpoint_sha256",
    }.items():
        assert words in error_of(capsys, "evaluate", *options(checkpoint, tmp_path, *first, mistake))
        assert (tmp_path / "results.json").read_bytes() == before
    more = evaluate(checkpoint, tmp_path, "metrics=[bpd]", "metrics.bpd.num_images=6")
    assert measured.items() <= more.items()
    assert "test/bpd_learned_range_first6" in more


def test_images_lie_beside_the_checkpoints_unless_told_otherwise(checkpoint: Path, tmp_path: Path) -> None:
    where = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", f"cache={tmp_path}", "num_images=66"]
    command("evaluate", *where, "metrics=[fd_digits]", "sampler=ddim", "sampler.num_steps=2", "seed=3")
    folder = checkpoint.parent.parent / "generated" / "step0000004_ema_ddim2_seed3"
    assert [path.name for path in sorted(folder.glob("*.npz"))] == ["000000-000065.npz"]


def test_features_of_real_images_are_kept_by_data_split_and_extractor(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(checkpoint, tmp_path, "metrics=[fd_digits]")
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    assert kept.name.startswith("FakeDataModule_train_")
    assert "classifier_digits" in kept.name
    before = kept.stat().st_mtime_ns
    (tmp_path / "results.json").unlink()
    evaluate(checkpoint, tmp_path, "metrics=[fd_digits]")
    assert kept.stat().st_mtime_ns == before
    (tmp_path / "results.json").unlink()
    evaluate(checkpoint, tmp_path, "metrics=[fd_digits]", "split=test")
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2


def test_a_reference_can_be_a_folder_or_a_file(
    checkpoint: Path, found: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (kept,) = (found[0] / "cache").rglob("*.npz")
    expected = found[1]["fd_digits_70_train"]["value"]
    with np.load(kept) as file:
        np.savez(tmp_path / "statistics.npz", mu=file["mu"].astype(np.float64), sigma=file["sigma"])
    images = f"generated={found[0]}/images"  # made already
    for place, reference in enumerate((kept, tmp_path / "statistics.npz")):
        metrics = evaluate(checkpoint, tmp_path / str(place), "metrics=[fd_digits]", images, f"reference={reference}")
        assert metrics["fd_digits_70_given"]["value"] == pytest.approx(expected, rel=1e-6)
        assert metrics["fd_digits_70_given"]["reference"] == str(reference)


def test_a_set_compared_with_itself_is_reported_as_implausible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (140, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images)
    folder = tmp_path / "pngs"
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[:, :, 0]).save(folder / f"{number:03d}.png")
    sets = (f"images={tmp_path / 'set.npz'}", f"reference={folder}")
    command("evaluate", *sets, "metrics=[fd_digits]", f"hydra.run.dir={tmp_path / 'out'}")
    record = results(tmp_path / "out")["metrics"]["fd_digits_140_given_images"]
    assert abs(record["value"]) < 1e-3
    assert "copies of the reference" in record["warning"]
    assert "copies of the reference" in capsys.readouterr().out


def diverged(checkpoint: Path, folder: Path) -> Path:
    """The same checkpoint, with weights that are no numbers."""
    content = torch.load(checkpoint, weights_only=True)
    for weights in (content["state_dict"], content["ema"]):
        for weight in weights.values():
            if weight.is_floating_point():
                weight.fill_(float("nan"))
    torch.save(content, folder / "diverged.ckpt")
    return folder / "diverged.ckpt"


def test_a_diverged_model_is_reported_as_such(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = diverged(checkpoint, tmp_path)
    record = evaluate(wrong, tmp_path, "metrics=[bpd]")["test/bpd_learned_range"]
    assert record["value"] == "nan"
    assert "not finite" in record["warning"]
    said = error_of(capsys, "evaluate", *options(wrong, tmp_path, "metrics=[bpd,fd_digits]"))
    assert "image 0 of seed 0 has pixels that are NaN or infinite" in said
    assert results(tmp_path)["metrics"]["test/bpd_learned_range"]["value"] == "nan"  # what was finished is kept


WRONG = [
    (["metrics=[fd_digits]", "num_images=64"], "64 generated images do not exceed the extractor's 64 features"),
    (["metrics=[fd_fashion_mnist]"], "cannot be judged by classifier_fashion_mnist"),
    (["metrics=[score_digits]", "num_images=9"], "9 generated images cannot be cut into 10 splits"),
    (["metrics=[fid]", "inception_weights=nowhere.pth"], "nowhere.pth of Inception's weights"),
    (["metrics=[]"], "no metric asked for"),
    (["num_images=0"], "num_images=0"),
    (["batch_size=0"], "batch_size=0"),
    (["use_ema=maybe"], "use_ema=maybe is neither true nor false"),
    (["variance=beta"], "variance=beta cannot take the place of variance=learned_range"),
    (["split=validation"], "split=validation is neither train nor test"),
    (["metrics.bpd.split=validation"], "split=validation is neither train nor test"),
    (["metrics=[bpd_estimate]", "metrics.bpd_estimate.strata=1"], "strata=1"),
    (["reference=nowhere"], "there is no reference"),
    (["data.root=somewhere"], "FakeDataModule"),
    (["metrics=[prc_digits]", "metrics.prc_digits.score.k=0"], "k=0"),
    (["metrics=[kid]", "metrics.kid.score.subset_size=1"], "subset_size=1"),
    (["metrics.bpd=null"], "no metric asked for"),
    (["trainer.precision=16-mixed"], "trainer.precision=16-mixed"),
    (["trainer.devices=0"], "trainer"),
    (["metrics=[bpd,typo]"], "typo"),
]


@pytest.mark.parametrize(("mistake", "words"), WRONG, ids=[" ".join(mistake) for mistake, _ in WRONG])
def test_wrong_options(
    mistake: list[str], words: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in error_of(capsys, "evaluate", *options(checkpoint, tmp_path, *mistake))
    assert not (tmp_path / "images").exists()  # told before anything was made


def test_wrong_sets_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for side in (8, 9):
        Image.new("L", (side, side)).save(tmp_path / "mixed" / f"{side}.png")
    np.savez(tmp_path / "nan.npz", images=np.full((3, 8, 8, 1), np.nan))
    np.savez(tmp_path / "other.npz", pictures=np.zeros((3, 8, 8, 1), np.uint8))
    for name, words in {
        "empty": "holds no images",
        "mixed": "all images must have one shape",
        "nan.npz": "not uint8 [n, h, w, c] in 0..255; round the values first",
        "other.npz": "holds none of the arrays images, arr_0",
        "nowhere": "is not a folder",
    }.items():
        where = [f"images={tmp_path / name}", f"reference={tmp_path / 'mixed'}", f"hydra.run.dir={tmp_path / 'out'}"]
        assert words in error_of(
            capsys, "evaluate", *where, "metrics=[score_digits]", "metrics.score_digits.score.splits=1"
        )


def test_without_checkpoint_or_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"hydra.run.dir={tmp_path / 'out'}"
    assert "nothing to evaluate" in error_of(capsys, "evaluate", where)
    (tmp_path / "one").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "one" / "0.png")
    images = f"images={tmp_path / 'one'}"
    assert "bpd needs a model" in error_of(capsys, "evaluate", where, images)
    assert "nothing to compare the images with" in error_of(capsys, "evaluate", where, images, "metrics=[fd_digits]")


@pytest.mark.slow
def test_the_papers_name_is_for_the_papers_number(
    checkpoint: Path, found: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Other weights of the extractor, other settings, images from elsewhere, raw weights, clipping: other names."""
    shards = f"generated={found[0]}/images"  # made already
    command("train_classifier", f"hydra.run.dir={tmp_path / 'classifier'}", "steps=1")
    mine = tmp_path / "classifier" / "classifier.safetensors"
    names = {
        "weights": ["metrics=[fd_digits]", f"metrics.fd_digits.extractor.weights={mine}", shards],
        "settings": ["metrics=[score_digits]", "metrics.score_digits.score.splits=2", shards],
        "raw": ["metrics=[bpd_estimate]", "use_ema=false"],
        "clipping": ["metrics=[bpd_estimate]", "metrics.bpd_estimate.clip_x_0=false"],
        "precision": ["metrics=[bpd_estimate]", "trainer.precision=bf16-mixed"],
    }
    said = {why: list(evaluate(checkpoint, tmp_path / why, *how)) for why, how in names.items()}
    bpd = "test/bpd_learned_range"
    assert said == {
        "weights": [f"fd_digits_70_train_{sha256_of(mine)[:8]}"],
        "settings": ["score_digits_70_splits2"],
        "raw": [f"{bpd}_raw_estimate"],
        "clipping": [f"{bpd}_unclipped_estimate"],
        "precision": [f"{bpd}_bf16-mixed_estimate"],
    }


def test_random_inception_is_not_called_inception(checkpoint: Path, tmp_path: Path) -> None:
    weights = write_random_weights(tmp_path / FILE)
    images = [f"inception_weights={weights}", "metrics=[isc]", "num_images=10"]
    assert list(evaluate(checkpoint, tmp_path, *images)) == [f"isc_10_{sha256_of(weights)[:8]}"]


def test_a_training_run_is_not_written_over(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = checkpoint.parent.parent
    before = (run / "results.json").read_bytes(), (run / ".hydra" / "config.yaml").read_bytes()
    assert "holds a training run" in error_of(capsys, "evaluate", *options(checkpoint, run))
    assert ((run / "results.json").read_bytes(), (run / ".hydra" / "config.yaml").read_bytes()) == before


def test_a_folder_of_other_images_is_told_at_once(
    checkpoint: Path, found: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options_ = options(checkpoint, tmp_path, "metrics=[bpd,fd_digits]", "seed=1")
    options_ = [f"generated={found[0]}/images" if option.startswith("generated=") else option for option in options_]
    assert "holds images of another seed (0)" in error_of(capsys, "evaluate", *options_)
    assert not (tmp_path / "results.json").exists()


DAMAGED = {
    "half": lambda whole: whole[: len(whole) // 2],
    "text": lambda whole: b"<html>not found</html>",
    "empty": lambda whole: b"",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_are_named(
    checkpoint: Path,
    found: tuple[Path, dict[str, Any]],
    damage: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(found[0] / "images", tmp_path / "images")
    shutil.copytree(found[0] / "cache", tmp_path / "cache")
    (shard,) = (tmp_path / "images").glob("*.npz")
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    for file, option in ((kept, ""), (shard, ""), (kept, f"reference={kept}"), (shard, f"images={shard}")):
        whole = file.read_bytes()
        file.write_bytes(damage(whole))
        more = ["metrics=[fd_digits]", *([option] if option else [])]
        said = error_of(capsys, "evaluate", *options(checkpoint, tmp_path, *more))
        assert f"{file} cannot be read as an .npz" in said
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(64), "sigma": np.zeros(64)}, "it is of another extractor"),
        ({"mu": np.zeros(2048), "sigma": np.eye(2048)}, "it is of another extractor"),
        ({"mu": np.full(64, np.nan), "sigma": np.eye(64)}, "values that are not finite numbers"),
        ({"features": np.zeros(64)}, "it is of another extractor"),
        ({"mu": np.zeros(64)}, "it is of another extractor"),
        ({"other": np.zeros(64)}, "holds none of the arrays"),
    ],
)
def test_wrong_references_are_named(
    arrays: dict[str, np.ndarray], words: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "reference.npz", **arrays)
    more = ("metrics=[fd_digits]", f"reference={tmp_path / 'reference.npz'}")
    assert words in error_of(capsys, "evaluate", *options(checkpoint, tmp_path, *more))


def test_distances_within_numbers_of_calls_are_those_of_the_samplers_steps(checkpoint: Path, tmp_path: Path) -> None:
    """Heun's method needs 2K − 1 calls for K steps: 3 for 2."""
    of_heun = ["sampler=heun", "metrics=[fd_digits_by_calls]", "metrics.fd_digits_by_calls.calls=[1,4]"]
    by_calls = evaluate(checkpoint, tmp_path, *of_heun)
    assert [record["sampler_calls"] for record in by_calls.values()] == [1, 3]
    assert [name.rpartition("_")[2] for name in by_calls] == ["within1", "within4"]
    alone = evaluate(checkpoint, tmp_path / "alone", "metrics=[fd_digits]", "sampler=heun", "sampler.num_steps=2")
    assert list(by_calls.values())[1]["value"] == pytest.approx(next(iter(alone.values()))["value"], rel=1e-6)
    assert not (tmp_path / "images").exists()  # a folder holds images of one sampler


def test_numbers_of_calls_that_cannot_be(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = options(checkpoint, tmp_path, "metrics=[fd_digits_by_calls]", "metrics.fd_digits_by_calls.calls=[0]")
    assert "calls=0" in error_of(capsys, "evaluate", *asked)


def test_copies_of_training_images_are_told(checkpoint: Path, tmp_path: Path) -> None:
    """Half of them mirrored, as training mirrors them: the share counts these, the published percentage does not."""
    data = make(read_checkpoint(checkpoint)["config"]["data"])
    train = torch.cat(list(real_images(data, "train")))
    copies = torch.cat([train[:20], train[20:40].flip(-1)])
    np.savez(tmp_path / "copies.npz", images=copies.permute(0, 2, 3, 1).numpy())
    asked = [f"images={tmp_path / 'copies.npz'}", "metrics=[memorisation,authpct]", "extractor=digits"]
    found = evaluate(checkpoint, tmp_path, *asked)
    assert found["memorisation_digits_40_images"]["value"] == 1
    assert found["memorisation_digits_40_images"]["mirrored_too"] is True
    assert 0 < found["authpct_digits_40_train_images"]["value"] <= 50
    assert found["authpct_digits_40_train_images"]["standard_error"] > 0
