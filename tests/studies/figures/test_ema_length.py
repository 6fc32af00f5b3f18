"""`figure=ema_length`, whole, against figure=steps of one length."""

from pathlib import Path

import pytest

from tests.commands import command, error_of, results, train
from tests.evaluation.test_evaluate import LIKE_DIGITS

HERE = ["trainer.accelerator=cpu", "num_images=70", "extractor=digits", "sampler=ddim", "sampler.num_steps=4"]
DRAWS = ["figure.ema_length.num_draws=2"]
JUDGE = "classifier_digits_70_train"
OURS = f"{JUDGE}_ddim4"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ["callbacks/ema=power", "callbacks.ema.every_n_steps=1", "trainer.max_steps=12"]
    return train(tmp_path_factory.mktemp("run"), *LIKE_DIGITS, *options) / "checkpoints" / "last.ckpt"


def test_each_distance_is_that_of_samples_of_its_length(checkpoint: Path, tmp_path: Path) -> None:
    where = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path / 'figure'}", "figure=[ema_length]"]
    command("figure", *where, *HERE, *DRAWS, "figure.ema_length.lengths=[0.2,0.05]")
    found = results(tmp_path / "figure")["metrics"]
    assert list(found) == [f"ema_length_{length}_{OURS}" for length in (0.05, 0.2)]
    assert found[f"ema_length_0.2_{OURS}"]["weights"] == "ema_0.2"
    assert (tmp_path / "figure" / "ema_length.png").is_file()
    where = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path / 'steps'}", "figure=[steps]", "ema_length=0.2"]
    others = ["ancestral", "ancestral_quadratic", "ddim_quadratic", "ddim_eta02", "ddim_eta05", "ddim_eta1"]
    alone = [f"figure.steps.samplers.{name}=null" for name in (*others, "dpm_solver", "unipc")]
    command("figure", *where, *HERE[:3], *alone, "figure.steps.calls=[4]", "figure.steps.num_draws=2")
    one = results(tmp_path / "steps")["metrics"][f"steps_ddim_4_{JUDGE}_ema_0.2"]
    assert found[f"ema_length_0.2_{OURS}"]["value"] == pytest.approx(one["value"], rel=1e-6)
    assert found[f"ema_length_0.05_{OURS}"]["value"] != found[f"ema_length_0.2_{OURS}"]["value"]


def test_what_cannot_be_drawn_is_refused(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["figure", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", "figure=[ema_length]", *HERE]
    assert "names a length twice" in error_of(capsys, *where, "figure.ema_length.lengths=[0.1,0.1]")
    assert "lengths=0.5 lies outside" in error_of(capsys, *where, "figure.ema_length.lengths=[0.5]")
    assert "leave out use_ema= and ema_length=" in error_of(capsys, *where, "use_ema=false")
