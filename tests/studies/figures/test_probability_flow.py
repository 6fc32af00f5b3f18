"""`figure=probability_flow`, of points and of pictures."""

from pathlib import Path

import pytest

from tests.commands import command, error_of, results, train
from tests.studies.figures.test_plane import checkpoint  # noqa: F401  # of points

FIGURE = ["figure=[probability_flow]", "trainer.accelerator=cpu"]
FEW = ["figure.probability_flow.steps=[16,4]", "figure.probability_flow.num_images=6"]


def test_points_come_back_the_better_the_finer_the_solver(checkpoint: Path, tmp_path: Path) -> None:  # noqa: F811
    command("figure", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", *FIGURE, *FEW)
    found = results(tmp_path)["metrics"]
    assert {path.name for path in tmp_path.glob("*.png")} == {"probability_flow.png", "probability_flow_paths.png"}
    coarse, fine = (found[f"flow_round_trip_rmse_{steps}steps"] for steps in (4, 16))
    assert fine["value"] < coarse["value"] / 4
    assert (coarse["network_calls"], fine["network_calls"]) == (64, 256)


def test_the_batch_size_changes_nothing(checkpoint: Path, tmp_path: Path) -> None:  # noqa: F811
    for size in (4, 6):
        folder = f"hydra.run.dir={tmp_path}/{size}"
        command("figure", f"checkpoint={checkpoint}", folder, *FIGURE, *FEW, f"batch_size={size}")
    one, other = (results(tmp_path / str(size))["metrics"] for size in (4, 6))
    assert {key: one[key]["value"] for key in one} == pytest.approx({key: other[key]["value"] for key in one}, rel=1e-3)


def test_pictures_are_shown_beside_what_comes_back(tmp_path: Path) -> None:
    last = train(tmp_path / "run", "trainer.max_steps=1") / "checkpoints" / "last.ckpt"
    command("figure", f"checkpoint={last}", f"hydra.run.dir={tmp_path}/figure", *FIGURE, *FEW)
    drawn = {path.name for path in (tmp_path / "figure").glob("*.png")}
    assert drawn == {"probability_flow.png", "probability_flow_images.png"}


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("steps=[]", "figure.probability_flow.steps=[] asks for no solver"),
        ("steps=[0]", "figure.probability_flow.steps=0 is not a whole number"),
        ("steps=[1000000]", "figure.probability_flow.steps=1000000 exceeds 100000"),
        ("num_images=1", "figure.probability_flow.num_images=1"),
        ("num_images=61", "exceeds 60"),
        ("num_rows=0", "figure.probability_flow.num_rows=0"),
    ],
)
def test_what_cannot_be_drawn_is_said_first(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mistake: str,
    words: str,
) -> None:
    here = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", *FIGURE, *FEW]
    said = error_of(capsys, "figure", *here, f"figure.probability_flow.{mistake}")
    assert words in " ".join(said.split())
