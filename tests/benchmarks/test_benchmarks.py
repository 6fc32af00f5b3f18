"""The benchmark program runs, measures what it says, and the page says what it measured. Speed itself is no test."""

import importlib.util
import json
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from benchmarks import measure, page, program
from benchmarks.check import regressions
from benchmarks.device import device, meters
from benchmarks.findings import Comparison, compare
from benchmarks.measure import Spread, spread, take_turns
from benchmarks.places import PAGE, RESULTS
from benchmarks.plans import CHECKED, full, short, small
from benchmarks.questions import ema_update
from benchmarks.questions.memory import in_fresh_process
from benchmarks.results import read, run, write
from benchmarks.sides import peers
from benchmarks.sides.flops import flops_of_call, flops_of_step
from benchmarks.sides.ours import module_of_shape, network_of_paper
from benchmarks.sides.shape import PAPER, SMALL
from benchmarks.sides.trace import peak_of_trace
from ddpm_lightning.errors import UserError
from ddpm_lightning.training.callbacks.ema import EMA
from tests.commands import command

LUCIDRAINS = pytest.mark.skipif(
    importlib.util.find_spec("denoising_diffusion_pytorch") is None, reason="the extra `bench` is not installed"
)
CHEAP = ["ema_update", "data_pipeline"]
WITH_PEER = ["training_step_16", "sampling_step"]
WITH_MODEL = ["bound_estimate", "sample_quality"]
LONGER = [
    "peak_share",
    "time_by_kind",
    "platform_cost_tiny",
    "start",
    "memory",
    "growth",
    "wandb_cost",
    "shards",
    pytest.param("training_defaults", marks=LUCIDRAINS),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of one step on digits, with a short chain."""
    run_dir = tmp_path_factory.mktemp("digits")
    quality = ["callbacks.quality.num_images=65", "callbacks.quality.sampler.num_steps=2"]
    none = [f"callbacks.{name}=null" for name in ("bound", "grid", "strip", "loss_curve", "progress")]
    sizes = ["schedule.T=8", "trainer.max_steps=1", "data.batch_size=8", "module.test_strata=2"]
    command("train", f"hydra.run.dir={run_dir}", "logger=none", "trainer.accelerator=cpu", *quality, *none, *sizes)
    return run_dir / "checkpoints" / "last.ckpt"


def found_by(name: str, checkpoint: Path | None, folder: Path) -> dict[str, Any]:
    """What the small benchmark of this name wrote."""
    benchmark = next(benchmark for benchmark in small(checkpoint) if benchmark.name == name)
    return dict(json.loads(write(run(benchmark), folder).read_text()))


def assert_whole(record: dict[str, Any]) -> None:
    """It found something, all of it finite, and says where it comes from."""
    found = [*record["comparisons"], *record["figures"], *record["series"]]
    assert found
    assert not any(word in json.dumps(found) for word in ("NaN", "Infinity", '"nan"', '"inf"'))
    assert all(
        each["ours"] > 0 and each["theirs"] > 0 and each["ratio"]["median"] > 0 for each in record["comparisons"]
    )
    assert record["machine"]["torch"]
    assert record["command"].startswith(f"python -m benchmarks {record['name']}")


@pytest.mark.parametrize("name", [*CHEAP, *(pytest.param(name, marks=LUCIDRAINS) for name in WITH_PEER)])
def test_small_benchmarks_run(name: str, tmp_path: Path) -> None:
    assert_whole(found_by(name, None, tmp_path))


@pytest.mark.parametrize("name", WITH_MODEL)
def test_small_benchmarks_of_a_model_run(name: str, checkpoint: Path, tmp_path: Path) -> None:
    record = found_by(name, checkpoint, tmp_path)
    assert_whole(record)
    assert record["command"].endswith(f"--checkpoint {checkpoint}")


@pytest.mark.slow
@pytest.mark.parametrize("name", LONGER)
def test_longer_small_benchmarks_run(name: str, tmp_path: Path) -> None:
    assert_whole(found_by(name, None, tmp_path))


def test_every_benchmark_has_a_small_one_and_a_place_on_the_page() -> None:
    names = [benchmark.name for benchmark in full(None)]
    assert len(set(names)) == len(names)
    assert {name for _, name, _ in page.PLACE.findall(PAGE.read_text())} == set(names)
    kinds = {type(benchmark) for benchmark in full(None)}
    assert {type(benchmark) for benchmark in small(None)} == kinds
    assert [benchmark.name for benchmark in short()] == [name for name in names if name in CHECKED]


def test_the_page_says_what_was_measured() -> None:
    assert PAGE.read_text() == page.with_tables(PAGE.read_text(), RESULTS), "run python -m benchmarks --page"


def test_without_a_checkpoint_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with patch.object(program, "write_page"):
        assert program.main(["--smoke", "sample_quality"]) == 1
        assert program.main(["--smoke", "no_such_one"]) == 1
    assert "there is no benchmark no_such_one here; choose among start" in capsys.readouterr().err


def test_a_peer_that_is_missing_is_named_with_what_installs_it() -> None:
    with patch.dict("sys.modules", {"denoising_diffusion_pytorch": None}), pytest.raises(UserError, match=r"\[bench\]"):
        peers.lucidrains()


def test_sides_take_turns() -> None:
    done: list[str] = []
    found = take_turns({name: lambda name=name: done.append(name) for name in "ABC"}, rounds=3)
    assert "".join(done) == "ABC" + "ABC" + "CBA" + "ABC"
    assert {name: len(turns) for name, turns in found.items()} == {"A": 3, "B": 3, "C": 3}


def test_short_sides_are_repeated_and_their_mean_taken() -> None:
    """A clock that moves by one second at each look: every timing is of one second, however many calls it holds."""
    ticks = count()
    calls: list[int] = []
    with patch.object(measure.time, "perf_counter", lambda: float(next(ticks))):
        found = take_turns({"A": lambda: calls.append(1)}, rounds=2, at_least=10.0)
    assert found == {"A": [0.1, 0.1]}
    assert len(calls) == 2 + 2 * 10


def test_a_spread_is_median_and_quartiles() -> None:
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert spread([2.0]) == Spread(2.0, 2.0, 2.0, 1)


def test_a_ratio_is_taken_round_by_round() -> None:
    """The second round was slow for both: its ratio is that of the others."""
    found = compare("step", ("we", "they"), [1.0, 10.0, 1.0], [2.0, 20.0, 2.0])
    assert found == Comparison("step", "we", "they", 1.0, 2.0, "s", Spread(2.0, 2.0, 2.0, 3))


def recorded(ratio: float) -> dict[str, Any]:
    """A record of one comparison."""
    comparison = {"what": "step", "our_name": "we", "their_name": "they", "ours": 1.0, "theirs": ratio, "unit": "s"}
    spread_of_ratio = {"median": ratio, "lower": 0.95 * ratio, "upper": 1.05 * ratio, "rounds": 7}
    machine = {"gpu": None, "cpu": "a CPU", "cores": 2, "threads": 2, "torch": "2", "load_at_start": 0.0}
    return {
        "name": "start",
        "question": "?",
        "comparisons": [{**comparison, "ratio": spread_of_ratio, "target": 1.5}],
        "figures": [{"what": "seconds", "value": spread_of_ratio, "unit": "s", "limit": 1.0}],
        "series": [],
        "settings": {"rounds": 7},
        "machine": machine,
        "commit": "0123456789",
        "command": "python -m benchmarks start",
    }


def test_a_ratio_that_fell_is_a_regression_and_one_that_rose_is_none() -> None:
    assert list(regressions(recorded(2.0), recorded(1.62))) == []
    assert list(regressions(recorded(2.0), recorded(3.0))) == []
    (sentence,) = regressions(recorded(2.0), recorded(1.6))
    assert "1.6, recorded 2, at least 1.61" in sentence


def test_the_check_fails_on_a_regression_alone(tmp_path: Path) -> None:
    write({**recorded(2.0), "series": []}, tmp_path)
    with patch.object(program, "run", lambda benchmark: recorded(1.0)):
        assert program.check_all(short()[:1], tmp_path) == 1
    with patch.object(program, "run", lambda benchmark: recorded(2.1)):
        assert program.check_all(short(), tmp_path) == 0  # the others have no record


def test_tables_hold_what_the_file_holds(tmp_path: Path) -> None:
    write(recorded(1.75), tmp_path)
    text = page.with_tables("<!-- start -->\nold\n<!-- end -->\n<!-- memory -->\nold\n<!-- end -->", tmp_path)
    assert "| step | we: 1 s | they: 1.75 s | 1.75 (1.66 – 1.84) | 1.5 | yes |" in text
    assert "| seconds | 1.75 (1.66 – 1.84) | s | 1 | no |" in text
    assert text.endswith("<!-- memory -->\nNot measured yet.\n<!-- end -->")
    assert "old" not in text
    assert page.with_tables(text, tmp_path) == text
    assert read("memory", tmp_path) is None


def test_both_networks_have_the_paper_s_parameters_and_the_same_operations() -> None:
    for make in (network_of_paper, peers.network_of_diffusers):
        assert sum(p.numel() for p in make(PAPER).parameters()) == 35_746_307
    ours, theirs = (flops_of_step(make, PAPER, 2) for make in (network_of_paper, peers.network_of_diffusers))
    assert ours == theirs == pytest.approx(2 * 37.32e9, rel=1e-3)
    assert flops_of_call(network_of_paper, PAPER, 2) == pytest.approx(2 * 12.44e9, rel=1e-3)


@LUCIDRAINS
def test_the_page_tells_how_large_the_other_network_is() -> None:
    for maker in (peers.TrainLucidrains(), peers.TrainNarrowLucidrains()):
        parameters = sum(p.numel() for p in maker.network(PAPER).parameters())
        assert f"{parameters:,}" in PAGE.read_text()
        assert f"{flops_of_call(maker.network, PAPER, 1) / 1e9:.3g} GFLOP" in " ".join(PAGE.read_text().split())


def test_the_peak_of_a_trace_is_the_most_that_was_allocated(tmp_path: Path) -> None:
    events = [{"name": "[memory]", "args": {"Total Allocated": size}} for size in (10, 70, 30)]
    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": [*events, {"name": "aten::mm"}]}))
    assert peak_of_trace(tmp_path / "trace.json") == 70


@pytest.mark.slow
def test_a_fresh_process_is_one() -> None:
    assert in_fresh_process(len, "abc") == 3


def quarter_of_a_gibibyte() -> float:
    """The peak of a piece of work that needs 256 MiB, in a process of its own."""
    meter = meters().get("resident set") or next(iter(meters().values()))
    return meter(lambda: None, lambda: torch.ones(2**26, device=device())) / 2**20


@pytest.mark.slow
def test_peak_memory_is_of_the_work_alone() -> None:
    """Not of the process that asks, which holds more."""
    held = torch.ones(2**27)
    assert 250 < in_fresh_process(quarter_of_a_gibibyte) < 320
    assert held[0] == 1


def test_the_ema_that_is_timed_moves() -> None:
    """From the weights as they were towards the weights as they are, by 1 − decay."""
    module = module_of_shape(SMALL)
    ema = EMA(0.9)
    update = ema_update.ours(ema, module)
    update()
    before = {name: weight.clone() for name, weight in ema.shadow.items()}
    with torch.no_grad():
        for weight in module.model.parameters():
            weight += 1
    update()
    for name, weight in before.items():
        torch.testing.assert_close(ema.shadow[name], weight + 0.1)
