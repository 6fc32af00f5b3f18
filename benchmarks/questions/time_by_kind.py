"""Measures the time of a training step by kind of operation, and the operations/s of convolutions."""

from dataclasses import dataclass

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.benchmark import Benchmark
from benchmarks.device import FULL_PRECISION, HALF_PRECISION, device, finish
from benchmarks.findings import Figure, Findings
from benchmarks.measure import Side, spread
from benchmarks.sides.ours import OURS
from benchmarks.sides.shape import PAPER, Shape

KINDS = {
    "convolutions": ("conv",),
    "attention": ("bmm", "softmax", "scaled_dot_product", "_attention_"),
    "GroupNorm": ("group_norm",),
    "drawing what dropout leaves out": ("random_", "bernoulli", "native_dropout"),
    "swish": ("silu",),
    "dense layers": ("addmm", "aten::mm"),
    "copies, casts, joining": ("copy_", "aten::cat", "_to_copy", "upsample", "aten::fill_", "aten::zero_"),
    "Adam and clipping": ("_fused_adam", "_foreach", "linalg_vector_norm"),
}
"""Parts of the names of torch's operations, by kind. The first match counts."""

REST = "everything else"


@dataclass(frozen=True, kw_only=True)
class TimeByKind(Benchmark):
    """Measures shares of time with torch's profiler. Its own cost falls on the small operations."""

    rounds: int = 3
    batch_size: int = 16
    shape: Shape = PAPER
    precisions: tuple[str, ...] = (FULL_PRECISION, HALF_PRECISION)

    question = "Where does the time of a training step go?"

    def measure(self) -> Findings:
        findings = Findings()
        for precision in self.precisions:
            step = OURS(self.shape, self.batch_size, precision)
            step()
            turns = [_seconds_by_kind(step) for _ in range(self.rounds)]
            findings.figures += [_share(kind, turns, precision) for kind in (*KINDS, REST)]
            work = _flops_of_convolutions(step) / 1e9
            rates = spread([work / turn["convolutions"] for turn in turns])
            findings.figures.append(Figure(f"{precision}: inside the convolutions", rates, "GFLOP/s"))
        return findings


def _share(kind: str, turns: list[dict[str, float]], precision: str) -> Figure:
    shares = [100 * turn[kind] / sum(turn.values()) for turn in turns]
    return Figure(f"{precision}: {kind}", spread(shares), "% of the step")


def _seconds_by_kind(step: Side) -> dict[str, float]:
    on_gpu = device().type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        step()
        finish()
    found = dict.fromkeys((*KINDS, REST), 0.0)
    for event in profiler.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # a kernel, whose time its operation has
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        found[_kind(event.key)] += microseconds / 1e6
    return found


def _kind(name: str) -> str:
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), REST)


def _flops_of_convolutions(step: Side) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for operation, count in counts.items() if "convolution" in str(operation))
