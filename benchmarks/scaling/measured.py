"""Measurements for the page: each returns rows with the measured number and the formula's."""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from benchmarks.device import FULL_PRECISION
from benchmarks.measure import Side, spread, take_turns
from benchmarks.places import RESULTS
from benchmarks.plans import CHECKPOINTED
from benchmarks.questions.growth import MIDDLE
from benchmarks.questions.memory import MIB, in_fresh_process, peak_mib
from benchmarks.questions.peak_share import Product, convolution, matrix_product
from benchmarks.scaling.formulas import FLOAT, NetworkCost, all_reduced, peak_of_step
from benchmarks.scaling.images import write_images
from benchmarks.scaling.recipes import Recipe, recipes
from benchmarks.scaling.traffic import bytes_a_step
from benchmarks.sides.flops import flops_of_call, flops_of_step
from benchmarks.sides.ours import OURS, TrainOurs, network_of_paper
from benchmarks.sides.shape import PAPER, Shape
from ddpm_lightning.data.batches import Plan
from ddpm_lightning.data.encoded import EncodedImages
from ddpm_lightning.data.image_folder import Files

Rows = list[dict[str, Any]]


def operations() -> Rows:
    """Compares torch's operation counter, on the meta device, with the formula."""
    return [
        {
            "recipe": each.name,
            "parameters": each.cost.parameters,
            "forward": each.cost.forward,
            "forward_counted": flops_of_call(network_of_paper, each.shape, 1),
            "step": each.cost.step,
            "step_counted": flops_of_step(network_of_paper, each.shape, 1),
        }
        for each in recipes()
    ]


def memory() -> Rows:
    """Compares the peak of a training step in float32: measured for small networks, as recorded for the paper's."""
    sizes = [(MIDDLE, 64), (replace(MIDDLE, side=64), 16), (replace(MIDDLE, channels=64, dropout=0.1), 32)]
    sides = [(shape, batch_size, side) for shape, batch_size in sizes for side in (OURS, CHECKPOINTED)]
    now = [_memory_now(*each) for each in sides]
    recorded = [_memory_recorded("memory", 16, OURS.name), _memory_recorded("memory_checkpointed", 128, OURS.name)]
    return [*now, *recorded, _memory_recorded("memory_checkpointed", 128, CHECKPOINTED.name)]


def _memory_now(shape: Shape, batch_size: int, side: TrainOurs) -> dict[str, Any]:
    measured = in_fresh_process(peak_mib, "torch's profiler", side, shape, batch_size, FULL_PRECISION)
    return _memory_row(shape, batch_size, side is CHECKPOINTED, measured, "now")


def _memory_recorded(name: str, batch_size: int, side: str) -> dict[str, Any]:
    record = json.loads((RESULTS / f"{name}.json").read_text())
    each = next(c for c in record["comparisons"] if "profiler" in c["what"])
    measured = each["ours"] if each["our_name"] == side else each["theirs"]
    source = f"benchmarks, `{name}`, commit {record['commit'][:8]}"
    return _memory_row(PAPER, batch_size, side == CHECKPOINTED.name, measured, source)


def _memory_row(shape: Shape, batch_size: int, checkpointed: bool, measured: float, when: str) -> dict[str, Any]:
    cost = NetworkCost(shape)
    an_image = cost.activations_checkpointed if checkpointed else cost.activations
    formula = peak_of_step(cost.parameters, batch_size * an_image) / MIB
    map_mib = batch_size * FLOAT * shape.channels * shape.side**2 / MIB
    return {
        "network": f"{cost.parameters / 1e6:.3g}M at {shape.side}×{shape.side}",
        "batch_size": batch_size,
        "checkpointed": checkpointed,
        "formula_mib": formula,
        "measured_mib": measured,
        "rest_in_maps": (measured - formula) / map_mib,
        "when": when,
    }


def speed(rounds: int = 5) -> Rows:
    """Times training steps of several sizes, in turns with a product at the machine's peak."""
    sizes = [(PAPER, 4), *((replace(MIDDLE, channels=c), 16) for c in (32, 64, 128)), (replace(MIDDLE, side=64), 8)]
    peak = max((matrix_product(2048, torch.float32), convolution(256, 16, 16, torch.float32)), key=_rate)
    sides = {str(i): OURS(shape, batch_size, FULL_PRECISION) for i, (shape, batch_size) in enumerate(sizes)}
    found = take_turns({"peak": peak.run, **sides}, rounds)
    return [
        _speed_row(shape, batch_size, found[str(i)], [peak.flops / turn for turn in found["peak"]])
        for i, (shape, batch_size) in enumerate(sizes)
    ]


def _rate(product: Product) -> float:
    return product.flops / min(take_turns({"": product.run}, 3)[""])


def _speed_row(shape: Shape, batch_size: int, took: list[float], peaks: list[float]) -> dict[str, Any]:
    cost = NetworkCost(shape)
    flops = batch_size * cost.step
    share = spread([flops / turn / peak for turn, peak in zip(took, peaks, strict=True)])
    return {
        "network": f"{cost.parameters / 1e6:.3g}M, {shape.channels} channels, {shape.side}×{shape.side}",
        "batch_size": batch_size,
        "gflop": flops / 1e9,
        "seconds": spread(took).median,
        "peak_gflop_per_s": spread(peaks).median / 1e9,
        "share": [share.lower, share.median, share.upper],
    }


SENT = (
    (2, 1, "32-true"),
    (2, 1, "bf16-mixed"),
    (2, 2, "32-true"),
    (4, 1, "32-true"),
)


def traffic() -> Rows:
    """Measures the bytes between processes of train.py on gloo, for a network of 0.7 million parameters."""
    small = ("data=fake", "data.size=[8,8]", "data.num_images=64", "data.batch_size=8", "data.eval_batch_size=64")
    parameters = NetworkCost(Shape(8, 32, (1, 2), (4,), 1, 8, 0.0)).parameters
    return [
        {
            "processes": processes,
            "accumulated": turns,
            "precision": precision,
            "parameters": parameters,
            "formula": all_reduced(parameters, processes),
            "measured": bytes_a_step(processes, *small, f"trainer.precision={precision}", turns=turns),
        }
        for processes, turns, precision in SENT
    ]


def host(repeats: int = 20) -> dict[str, float]:
    """Measures the CPU seconds of a step with as many layers as the recipes', and almost nothing to compute."""
    return {each.name: _cpu_seconds(OURS(_thin(each), 1, FULL_PRECISION), repeats) for each in recipes()}


def _thin(each: Recipe) -> Shape:
    levels = len(each.shape.multipliers)
    side = 2 ** (levels - 1)
    attention = tuple(side * a // each.shape.side or 1 for a in each.shape.attention)
    return replace(each.shape, side=side, channels=4, groups=4, attention=attention)


def _cpu_seconds(side: Side, repeats: int) -> float:
    """Returns the least CPU seconds of several calls, because other load can only add to them."""
    side()
    return min(_once(side) for _ in range(repeats))


def _once(side: Side) -> float:
    start = time.process_time()
    side()
    return time.process_time() - start


def platform() -> float:
    """Returns the recorded seconds that Lightning and the callbacks add to a step."""
    record = json.loads((RESULTS / "platform_cost_tiny.json").read_text())
    return float(record["figures"][0]["value"]["median"])


def reading(number: int = 64) -> dict[str, float]:
    """Returns the images/s of one reader: of CIFAR-10's shape from memory as recorded, of 256² JPEGs as measured.

    The JPEGs are of 256×341 pixels and like photographs. They are read and cropped now, and CPU seconds count.
    """
    record = json.loads((RESULTS / "data_pipeline.json").read_text())["comparisons"][0]
    with TemporaryDirectory() as folder:
        paths = tuple(write_images(Path(folder), number, "jpg", (341, 256)))
        plan = Plan(torch.arange(number), torch.zeros(number, dtype=torch.bool))
        files = EncodedImages(Files(tuple(paths)), 256, 3)
        seconds = _cpu_seconds(partial(files.__getitem__, plan), 5)
    return {"32": 128 / record["ours"], "256": number / seconds}


def inception() -> int:
    """Returns the operations of torch-fidelity's Inception for one image, counted from its layers."""
    with patch.object(nn.Module, "load_state_dict"), patch("torch.load"):
        network = FeatureExtractorInceptionV3("any", ["2048"], "any")
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    return int(counter.get_total_flops())
