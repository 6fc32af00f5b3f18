"""The tables of the page: measurements, and results of the formulas."""

from collections.abc import Iterator
from typing import Any

from benchmarks.page import head, number, row
from benchmarks.scaling import hardware
from benchmarks.scaling.formulas import peak_of_run
from benchmarks.scaling.hardware import BETWEEN, GIGA, NVLINK
from benchmarks.scaling.plan import (
    RATE,
    SAMPLES,
    Host,
    Step,
    extraction,
    images_where_all_reduce_shows,
    sampling,
    steps_of_a_fid,
)
from benchmarks.scaling.recipes import PAPERS_SPEEDS, Recipe, T, recipes

Record = dict[str, Any]
HOUR = 3600
TESTED = {"cifar10": 10_000}
"""Numbers of test images for bits/dim, by recipe; a thousand for the others."""


def operations(record: Record) -> Iterator[str]:
    yield from head("recipe", "parameters", "forward: formula", "counted", "forward and backward: formula", "counted")
    for each in record["operations"]:
        counts = [f"{each[key] / GIGA:,.4f}" for key in ("forward", "forward_counted", "step", "step_counted")]
        yield row(each["recipe"], f"{each['parameters']:,}", *counts)


def papers_speed(record: Record) -> Iterator[str]:
    known = {each.name: each for each in recipes()}
    yield from head("recipe", "training, TFLOP/s", "share of the peak", "sampling, TFLOP/s", "share of the peak")
    for speed in PAPERS_SPEEDS:
        each = known[speed.recipe]
        training = speed.steps_per_s * each.batch_size * each.cost.step
        drawing = speed.samples * T * each.cost.forward / speed.seconds
        shares = [(f"{rate / 1e12:.0f}", f"{rate / hardware.TPU_V3_8:.2f}") for rate in (training, drawing)]
        yield row(speed.recipe, *shares[0], *shares[1])


def memory(record: Record) -> Iterator[str]:
    yield from head(
        "network", "batch", "checkpointing", "formula, MiB", "measured, MiB", "rest, in feature maps", "when"
    )
    for each in record["memory"]:
        sizes = [f"{each[key]:.0f}" for key in ("formula_mib", "measured_mib")]
        rest = f"{each['rest_in_maps']:.1f}"
        yield row(each["network"], each["batch_size"], _yes(each["checkpointed"]), *sizes, rest, each["when"])


def accumulation(record: Record) -> Iterator[str]:
    whole = record["accumulation"][0]
    yield from head("parts", "peak of the process, MiB", "less than whole, MiB", "formula, MiB")
    for each in record["accumulation"]:
        less = [whole[key] - each[key] for key in ("measured_mib", "formula_mib")]
        yield row(each["turns"], f"{each['measured_mib']:.0f}", *(f"{saved:.0f}" for saved in less))


def memory_of_recipes(record: Record) -> Iterator[str]:
    yield from head(
        "recipe",
        "weights, gradients, Adam, EMA, GB",
        "activations an image, GB",
        "with checkpointing, GB",
        "one GPU, the whole batch, GB",
        "with checkpointing, GB",
        "parts (accumulate_grad_batches) that fit in 80 GB: plain, checkpointed",
        "eight GPUs, GB a GPU",
    )
    for each in recipes():
        plain, checkpointed = each.cost.activations, each.cost.activations_checkpointed
        at = [_gb(peak_of_run(each.cost.parameters, n * a)) for n, a in _loads(each, plain, checkpointed)]
        parts = ", ".join(str(_parts(each, a)) for a in (plain, checkpointed))
        fixed = _gb(peak_of_run(each.cost.parameters, 0))
        yield row(each.name, fixed, _gb(plain), _gb(checkpointed), at[0], at[1], parts, at[2])


def _loads(each: Recipe, plain: int, checkpointed: int) -> list[tuple[int, int]]:
    b = each.batch_size
    return [(b, plain), (b, checkpointed), (b // hardware.PER_NODE, plain)]


def _parts(each: Recipe, activations: int) -> int:
    """Returns the number of equal parts of a batch that fit on one GPU."""
    return next(
        n
        for n in range(1, each.batch_size + 1)
        if each.batch_size % n == 0
        and peak_of_run(each.cost.parameters, each.batch_size // n * activations) < hardware.MEMORY
    )


def speed(record: Record) -> Iterator[str]:
    yield from head("network", "batch", "formula, GFLOP", "measured, s", "share of the peak (quartiles)")
    for each in record["speed"]:
        lower, median, upper = (f"{share:.2f}" for share in each["share"])
        gflop, seconds = number(each["gflop"]), number(each["seconds"])
        yield row(each["network"], each["batch_size"], gflop, seconds, f"{median} ({lower} – {upper})")


def traffic(record: Record) -> Iterator[str]:
    yield from head("processes", "accumulated", "precision", "formula, bytes", "measured, bytes", "measured / formula")
    for each in record["traffic"]:
        sizes = [f"{each[key]:,.0f}" for key in ("formula", "measured")]
        ratio = f"{each['measured'] / each['formula']:.4f}"
        yield row(each["processes"], each["accumulated"], each["precision"], *sizes, ratio)


def host(record: Record) -> Iterator[str]:
    yield from head("what", "measured", "unit")
    for name, seconds in record["host"].items():
        yield row(f"telling a device what to do in a step of {name}", f"{1000 * seconds:.1f}", "ms of one CPU core")
    yield row(
        "Lightning and callbacks (benchmarks, `platform_cost_tiny`)", f"{1000 * record['platform']:.1f}", "ms a step"
    )
    yield row(
        "images of 32×32 from memory (benchmarks, `data_pipeline`)", f"{record['reading']['32']:,.0f}", "images/s"
    )
    yield row("JPEGs of 341×256, read and cut", f"{record['reading']['256']:,.0f}", "images/s and process")
    yield row("Inception, forward (counted)", f"{record['inception'] / GIGA:.2f}", "GFLOP an image")


def costs(record: Record) -> Iterator[str]:
    yield from head(
        "recipe",
        "training, EFLOP",
        "on one H100, hours",
        "on eight, hours",
        "on eight, if the host were no matter",
        "50,000 samples, T = 1000, on one / eight",
        "FID and IS of them",
        "bits/dim, every t",
    )
    for each in recipes():
        hours = [each.steps * Step(each, n, host_of(record, each)).seconds / HOUR for n in (1, hardware.PER_NODE)]
        unhindered = each.training / RATE / hardware.PER_NODE / HOUR
        drawing = sampling(SAMPLES, each) / HOUR
        bound = TESTED.get(each.name, 1000) * T * each.cost.forward / RATE / HOUR
        yield row(
            each.name,
            number(each.training / 1e18),
            *map(number, [*hours, unhindered]),
            f"{number(drawing)} / {number(drawing / hardware.PER_NODE)}",
            number(extraction(2 * SAMPLES, record["inception"]) / HOUR),
            number(bound),
        )


def growth(record: Record) -> Iterator[str]:
    yield from head(
        "recipe", "GPUs", "images a GPU", "computing", "all-reduce", "host", "reading", "slowest", "training"
    )
    for each in recipes():
        for gpus in (1, 8, 16, 64):
            yield _grown(Step(each, gpus, host_of(record, each)))


def _grown(step: Step) -> str:
    parts = {"computing": step.computing, "all-reduce": step.all_reduce, "host": step.telling, "reading": step.reading}
    hours = f"{number(step.recipe.steps * step.seconds / HOUR)} h"
    milliseconds = [number(1000 * seconds) for seconds in parts.values()]
    images = step.recipe.batch_size // step.gpus
    return row(step.recipe.name, step.gpus, images, *milliseconds, max(parts, key=parts.__getitem__), hours)


def host_of(record: Record, each: Recipe) -> Host:
    """Returns the measured speed of the host for this recipe."""
    seconds = record["host"][each.name] + record["platform"]
    return Host(seconds, {int(side): rate for side, rate in record["reading"].items()})


def bottlenecks(record: Record) -> Iterator[str]:
    each, hosts = recipes(), [host_of(record, recipe) for recipe in recipes()]
    yield from head("where it begins", *(recipe.name for recipe in each))
    for link in (NVLINK, *BETWEEN):
        yield row(f"all-reduce outlasts backward, {link.name}", *(_least_images(recipe, link) for recipe in each))
    for link in BETWEEN:
        yield row(f"… number of nodes from which it does, {link.name}", *(_nodes(recipe, link) for recipe in each))
    alone = [Step(recipe, 1, host).computing / host.seconds for recipe, host in zip(each, hosts, strict=True)]
    least = [recipe.batch_size / gpus for recipe, gpus in zip(each, alone, strict=True)]
    yield row("the host cannot keep up", *(f"below {number(n)} images a GPU" for n in least))
    yield row("… number of GPUs from which it cannot", *(f"{int(gpus) + 1}" for gpus in alone))
    eaten = [RATE / recipe.cost.step for recipe in each]
    yield row("images/s that a GPU needs", *map(number, eaten))
    had = [host.images_per_s[recipe.shape.side] for recipe, host in zip(each, hosts, strict=True)]
    shares = [100 * rate / most for rate, most in zip(eaten, had, strict=True)]
    yield row("… of what one process reads, %", *map(number, shares))
    yield row(
        "training steps that cost as much as 50,000 samples",
        *(f"{steps_of_a_fid(recipe):,.0f}" for recipe in each),
    )
    yield row("… of the training, %", *(number(100 * steps_of_a_fid(recipe) / recipe.steps) for recipe in each))
    inception = [extraction(1, record["inception"]) / sampling(1, recipe) for recipe in each]
    yield row("Inception, of the time to sample an image, %", *(number(100 * share) for share in inception))


def _least_images(recipe: Recipe, link: hardware.Link) -> str:
    images = images_where_all_reduce_shows(recipe, link)
    return f"below {number(images)} images a GPU" if images > 1 else "never"


def _nodes(recipe: Recipe, link: hardware.Link) -> str:
    nodes = int(recipe.batch_size / hardware.PER_NODE / images_where_all_reduce_shows(recipe, link)) + 1
    return str(max(2, nodes)) if nodes * hardware.PER_NODE <= recipe.batch_size else "never"


def large_steps(record: Record) -> Iterator[str]:
    yield from head("recipe", "seconds", "loss", "gradient norm", "peak memory of the process, GiB", "checkpoint, GB")
    for each in record["large_steps"]:
        values = [number(each[key]) for key in ("seconds", "loss", "grad_norm", "peak_gib", "checkpoint_gb")]
        yield row(each["recipe"], *values)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _gb(size: float) -> str:
    return number(size / GIGA)
