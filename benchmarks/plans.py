"""The list of benchmarks: at full size for the page, and small ones that show that the program runs."""

from dataclasses import replace
from pathlib import Path

from benchmarks.benchmark import Benchmark
from benchmarks.device import HALF_PRECISION
from benchmarks.questions.bound_estimate import BoundEstimate
from benchmarks.questions.data_pipeline import DataPipeline
from benchmarks.questions.ema_update import EMAUpdate
from benchmarks.questions.growth import MIDDLE, Growth
from benchmarks.questions.memory import Memory
from benchmarks.questions.peak_share import PeakShare
from benchmarks.questions.platform_cost import PlatformCost
from benchmarks.questions.sample_quality import SampleQuality
from benchmarks.questions.sampling import SamplingStep
from benchmarks.questions.shards import Shards
from benchmarks.questions.start import Start
from benchmarks.questions.time_by_kind import TimeByKind
from benchmarks.questions.training_defaults import TrainingDefaults
from benchmarks.questions.training_step import TrainingStep
from benchmarks.questions.wandb_cost import WandbCost
from benchmarks.sides.checkpoint import Checkpoint
from benchmarks.sides.ours import OURS, SAME_MODEL, TrainOurs
from benchmarks.sides.peers import TrainDiffusers, TrainLucidrains, TrainNarrowLucidrains, TrainPlain
from benchmarks.sides.shape import SMALL

ALL_PEERS = (TrainDiffusers(), TrainLucidrains(), TrainNarrowLucidrains(), TrainPlain())
OF_PAPER = (*SAME_MODEL, "data.batch_size=16", "data.num_images=1024")
OF_DIGITS = ("data=digits", "network=tiny", "quality=none", "logger=csv")
ONE_DIGIT = (*OF_DIGITS, "data.batch_size=1")
"""The platform's cost hardly depends on the batch, so a small batch shows it best."""
NO_CALLBACKS = tuple(
    f"callbacks.{name}=null" for name in ("ema", "metrics", "bound", "grid", "strip", "checkpoint", "loss_curve")
)
COMPILED = TrainOurs("compile=true", ("compile=true",))
CHECKPOINTED = TrainOurs("activation checkpointing", ("network.activation_checkpointing=true",))


def with_option(name: str, ours: TrainOurs) -> TrainingStep:
    """Returns a benchmark of our training step with an option against the step without it."""
    return TrainingStep(name=name, batch_size=16, ours=ours, peers=(OURS,), target=None)


def full(checkpoint: Path | None) -> tuple[Benchmark, ...]:
    """Returns the benchmarks of the page. checkpoint: a trained model, which two of them need."""
    return (
        Start(name="start"),
        EMAUpdate(name="ema_update"),
        DataPipeline(name="data_pipeline"),
        Shards(name="shards"),
        TrainingStep(name="training_step_16", batch_size=16, peers=ALL_PEERS),
        TrainingStep(name="training_step_64", batch_size=64, peers=(TrainDiffusers(), TrainLucidrains())),
        TrainingStep(name="training_step_16_bf16", batch_size=16, precision=HALF_PRECISION),
        with_option("training_step_compiled", COMPILED),
        with_option("training_step_checkpointed", CHECKPOINTED),
        TrainingDefaults(name="training_defaults"),
        SamplingStep(name="sampling_step"),
        SamplingStep(name="sampling_step_tiny", batch_size=1, shape=SMALL, at_least=0.5),
        PlatformCost(name="platform_cost", overrides=OF_PAPER, what="35.7M", share=0.97),
        PlatformCost(
            name="platform_cost_tiny",
            overrides=ONE_DIGIT,
            what="tiny network, batch 1",
            rounds=600,
            warmups=20,
            added=0.0005,
        ),
        PlatformCost(
            name="platform_cost_lightning",
            overrides=(*ONE_DIGIT, *NO_CALLBACKS),
            what="tiny network, batch 1; Lightning, data, bar",
            rounds=600,
            warmups=20,
        ),
        WandbCost(name="wandb_cost"),
        PeakShare(name="peak_share"),
        TimeByKind(name="time_by_kind"),
        Memory(name="memory"),
        Memory(
            name="memory_checkpointed",
            rounds=1,
            batch_size=128,
            ours=CHECKPOINTED,
            peers=(OURS,),
            target=2.0,
        ),
        BoundEstimate(name="bound_estimate", checkpoint=Checkpoint(checkpoint)),
        SampleQuality(name="sample_quality", checkpoint=Checkpoint(checkpoint)),
        Growth(name="growth"),
    )


def small(checkpoint: Path | None) -> tuple[Benchmark, ...]:
    """Returns small benchmarks that take seconds. Their numbers mean nothing."""
    return (
        Start(name="start", rounds=1),
        EMAUpdate(name="ema_update", rounds=2, shape=SMALL, at_least=0),
        DataPipeline(name="data_pipeline", rounds=2, num_images=64, batch_size=8, at_least=0, shape=SMALL),
        Shards(
            name="shards",
            rounds=2,
            num_images=20,
            side=32,
            original_side=64,
            batch_size=4,
            num_numbers=200,
            buffer=20,
            at_least=0,
        ),
        TrainingStep(name="training_step_16", rounds=2, batch_size=2, shape=SMALL, peers=ALL_PEERS),
        TrainingDefaults(name="training_defaults", rounds=2, shape=SMALL),
        SamplingStep(name="sampling_step", rounds=2, batch_size=2, shape=SMALL),
        PlatformCost(name="platform_cost_tiny", overrides=OF_DIGITS, what="tiny network", rounds=3),
        WandbCost(
            name="wandb_cost", rounds=1, seconds=0.1, log_every=2, overrides=("network.channels=8", "data.batch_size=2")
        ),
        PeakShare(
            name="peak_share",
            rounds=2,
            matrices=(64,),
            convolutions=((8, 8),),
            train_batch_size=2,
            sample_batch_size=2,
            shape=SMALL,
        ),
        TimeByKind(name="time_by_kind", rounds=1, batch_size=2, shape=SMALL),
        Memory(name="memory", rounds=1, batch_size=2, shape=MIDDLE, peers=(TrainPlain(),)),
        BoundEstimate(
            name="bound_estimate",
            rounds=2,
            checkpoint=Checkpoint(checkpoint),
            num_images=8,
            tolerance=1e9,
            pilot_images=2,
            pilot_steps=4,
        ),
        SampleQuality(name="sample_quality", rounds=1, checkpoint=Checkpoint(checkpoint), budgets=(3,), num_images=70),
        Growth(
            name="growth",
            rounds=2,
            base=SMALL,
            batch_size=2,
            batch_sizes=(1, 2),
            sides=(8, 16),
            widths=(8, 16),
            steps=(2, 4),
            processes=(1,),
            process_steps=8,
        ),
    )


CHECKED = ("start", "ema_update", "data_pipeline", "training_step_16", "sampling_step_tiny", "platform_cost_tiny")
"""The benchmarks that `make bench-check` repeats."""


def short() -> tuple[Benchmark, ...]:
    """Returns the full benchmarks with fewer rounds, whose ratios compare with the recorded ones."""
    chosen = (benchmark for benchmark in full(None) if benchmark.name in CHECKED)
    return tuple(replace(benchmark, rounds=max(3, benchmark.rounds // 3)) for benchmark in chosen)
