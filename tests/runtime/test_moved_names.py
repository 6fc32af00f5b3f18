"""Classes are found by the names that version 0.1 gave them in checkpoints, results and configurations."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.diffusion.variances import LearnedRangeVariance, Sigmoid
from ddpm_lightning.runtime.moved_names import current_name, current_names
from ddpm_lightning.training.checkpoint import CONFIG, read_checkpoint
from tests.commands import command, train

OLD = [
    "ddpm_lightning.data.cifar10.CIFAR10DataModule",
    "ddpm_lightning.data.digits.DigitsDataModule",
    "ddpm_lightning.data.fake.FakeDataModule",
    "ddpm_lightning.data.fashion_mnist.FashionMNIST16DataModule",
    "ddpm_lightning.data.fashion_mnist.FashionMNISTDataModule",
    "ddpm_lightning.data.image_folder.ImageFolderDataModule",
    "ddpm_lightning.data.lsun.LSUNDataModule",
    "ddpm_lightning.data.points.GaussiansDataModule",
    "ddpm_lightning.data.points.SwissRollDataModule",
    "ddpm_lightning.data.points.TwoMoonsDataModule",
    "ddpm_lightning.data.shards.ShardsDataModule",
    "ddpm_lightning.diffusion.dequantization.DecoderDequantization",
    "ddpm_lightning.diffusion.dequantization.UniformDequantization",
    "ddpm_lightning.diffusion.dpm_solver.DPMSolver",
    "ddpm_lightning.diffusion.langevin.LangevinSampler",
    "ddpm_lightning.diffusion.langevin.PredictorCorrector",
    "ddpm_lightning.diffusion.losses.ELBO",
    "ddpm_lightning.diffusion.losses.Hybrid",
    "ddpm_lightning.diffusion.losses.MinSNR",
    "ddpm_lightning.diffusion.losses.P2",
    "ddpm_lightning.diffusion.losses.Simple",
    "ddpm_lightning.diffusion.losses.TruncatedSNR",
    "ddpm_lightning.diffusion.losses.VDM",
    "ddpm_lightning.diffusion.parameterizations.Epsilon",
    "ddpm_lightning.diffusion.parameterizations.Mu",
    "ddpm_lightning.diffusion.parameterizations.V",
    "ddpm_lightning.diffusion.parameterizations.X0",
    "ddpm_lightning.diffusion.samplers.AncestralSampler",
    "ddpm_lightning.diffusion.samplers.DDIMSampler",
    "ddpm_lightning.diffusion.schedules.ConstantSchedule",
    "ddpm_lightning.diffusion.schedules.CosineSchedule",
    "ddpm_lightning.diffusion.schedules.GeometricSchedule",
    "ddpm_lightning.diffusion.schedules.JSDSchedule",
    "ddpm_lightning.diffusion.schedules.LinearSchedule",
    "ddpm_lightning.diffusion.schedules.LogSNRLinearSchedule",
    "ddpm_lightning.diffusion.schedules.QuadraticSchedule",
    "ddpm_lightning.diffusion.spacing.LeadingSpacing",
    "ddpm_lightning.diffusion.spacing.QuadraticSpacing",
    "ddpm_lightning.diffusion.spacing.TrailingSpacing",
    "ddpm_lightning.diffusion.spacing.UniformSpacing",
    "ddpm_lightning.diffusion.timesteps.ImportanceTimesteps",
    "ddpm_lightning.diffusion.timesteps.LowDiscrepancyTimesteps",
    "ddpm_lightning.diffusion.timesteps.UniformTimesteps",
    "ddpm_lightning.diffusion.timesteps.bound_weight",
    "ddpm_lightning.diffusion.timesteps.epsilon_weight",
    "ddpm_lightning.diffusion.unipc.UniPC",
    "ddpm_lightning.diffusion.variances.BetaTildeVariance",
    "ddpm_lightning.diffusion.variances.BetaVariance",
    "ddpm_lightning.diffusion.variances.LearnedRangeVariance",
    "ddpm_lightning.diffusion.variances.LearnedSigmoidVariance",
    "ddpm_lightning.diffusion.variances.LearnedVariance",
    "ddpm_lightning.diffusion.variances.LogSpace",
    "ddpm_lightning.diffusion.variances.Sigmoid",
    "ddpm_lightning.figures.interpolation.Interpolation",
    "ddpm_lightning.figures.lossy_coding.LossyCoding",
    "ddpm_lightning.figures.nearest_neighbours.NearestNeighbours",
    "ddpm_lightning.figures.plane.Plane",
    "ddpm_lightning.figures.probability_flow.Flow",
    "ddpm_lightning.figures.progressive_generation.ProgressiveGeneration",
    "ddpm_lightning.figures.schedules.Schedules",
    "ddpm_lightning.figures.shared_latents.SharedLatents",
    "ddpm_lightning.figures.steps.Steps",
    "ddpm_lightning.figures.timesteps.TimestepsCompared",
    "ddpm_lightning.interchange.diffusers_source.DiffusersSource",
    "ddpm_lightning.interchange.official_source.PesserSource",
    "ddpm_lightning.interchange.official_source.TensorFlowSource",
    "ddpm_lightning.interchange.ours.CheckpointSource",
    "ddpm_lightning.interchange.ours.SafetensorsSource",
    "ddpm_lightning.interchange.targets.CheckpointTarget",
    "ddpm_lightning.interchange.targets.DiffusersTarget",
    "ddpm_lightning.interchange.targets.SafetensorsTarget",
    "ddpm_lightning.metrics.classifier.DataSetClassifier",
    "ddpm_lightning.metrics.inception.Inception",
    "ddpm_lightning.metrics.scores.ClassifierScore",
    "ddpm_lightning.metrics.scores.FrechetDistance",
    "ddpm_lightning.metrics.scores.KernelDistance",
    "ddpm_lightning.metrics.scores.PrecisionRecall",
    "ddpm_lightning.networks.mlp.MLP",
    "ddpm_lightning.networks.unet.UNet",
    "ddpm_lightning.networks.untied.Untied",
    "ddpm_lightning.report.callback.SweepReport",
    "ddpm_lightning.training.callbacks.bound.ValidationBound",
    "ddpm_lightning.training.callbacks.checkpoint.LastCheckpoint",
    "ddpm_lightning.training.callbacks.ema.EMA",
    "ddpm_lightning.training.callbacks.loss_by_t.LossByT",
    "ddpm_lightning.training.callbacks.loss_curve.LossCurve",
    "ddpm_lightning.training.callbacks.metrics.TrainingMetrics",
    "ddpm_lightning.training.callbacks.overfit.OverfitCheck",
    "ddpm_lightning.training.callbacks.progress.StepProgressBar",
    "ddpm_lightning.training.callbacks.quality.SampleQuality",
    "ddpm_lightning.training.callbacks.samples.DenoisingStrip",
    "ddpm_lightning.training.callbacks.samples.SampleGrid",
    "ddpm_lightning.training.callbacks.schedule_plot.SchedulePlot",
    "ddpm_lightning.training.evaluation.bound.ExactBound",
    "ddpm_lightning.training.evaluation.bound_estimate.EstimatedBound",
    "ddpm_lightning.training.evaluation.fabric.make_fabric",
    "ddpm_lightning.training.evaluation.flow.FlowLikelihood",
    "ddpm_lightning.training.evaluation.sample_metrics.SampleMetric",
    "ddpm_lightning.training.metrics_csv.MetricsCSV",
    "ddpm_lightning.training.module.DDPM",
    "ddpm_lightning.training.outputs.GridOutput",
    "ddpm_lightning.training.outputs.NPZOutput",
    "ddpm_lightning.training.outputs.PNGOutput",
    "ddpm_lightning.training.run_dir.OwnDirectoryCheck",
    "ddpm_lightning.training.run_dir.RunDirectoryCheck",
    "ddpm_lightning.training.slurm.SlurmCheck",
    "ddpm_lightning.training.trainer.make_trainer",
    "ddpm_lightning.training.wandb_logger.make_wandb_logger",
]
"""Every class that the options of version 0.1 named."""


@pytest.mark.parametrize("old", OLD)
def test_every_class_of_the_first_version_is_found(old: str) -> None:
    module, _, name = current_name(old).rpartition(".")
    assert getattr(import_module(module), name).__name__ == name


def test_a_schedule_and_a_variance_that_became_options_of_another_class_are_built_as_before() -> None:
    schedules, variances = "ddpm_lightning.diffusion.schedules", "ddpm_lightning.diffusion.variances"
    node = {"_target_": f"{schedules}.GeometricSchedule", "T": 50, "sigma_min": 0.02, "sigma_max": 30.0}
    sigma = VarianceExploding(GaussianDiffusion(instantiate(current_names(node)))).sigma[1:]
    assert torch.allclose(sigma, 0.02 * (30 / 0.02) ** torch.linspace(0, 1, 50, dtype=torch.float64), rtol=1e-9)
    interpolation = {"_target_": f"{variances}.Sigmoid"}
    for old in ("LearnedSigmoidVariance", "LearnedRangeVariance"):
        built = instantiate(current_names({"_target_": f"{variances}.{old}", "interpolation": interpolation}))
        assert (built, built.name) == (LearnedRangeVariance(Sigmoid()), "learned_sigmoid")
    assert LearnedRangeVariance().name == "learned_range"


def test_present_names_and_those_of_others_stay() -> None:
    for name in ("ddpm_lightning.reporting.X", "torch.optim.Adam", "report.callback.X", None, 3):
        assert current_name(name) == name
    for old in OLD:
        assert current_name(current_name(old)) == current_name(old)
    assert current_names([{"a": {"_target_": OLD[0]}}]) == [{"a": {"_target_": current_name(OLD[0])}}]


def test_a_run_of_the_first_version_resumes_and_is_sampled_from(tmp_path: Path) -> None:
    unipc = ("sampler=unipc", "sampler.num_steps=3", "sampler/spacing=trailing")
    path = train(tmp_path / "run", *unipc) / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    new = {"samplers.unipc": "unipc", "samplers.spacing": "spacing"}
    renamed = {f"ddpm_lightning.diffusion.{now}": f"ddpm_lightning.diffusion.{old}" for now, old in new.items()}
    sampler = checkpoint[CONFIG]["sampler"]
    for node in (sampler, sampler["spacing"]):
        module, _, name = node["_target_"].rpartition(".")
        node["_target_"] = f"{renamed[module]}.{name}"
    torch.save(checkpoint, path)
    assert read_checkpoint(path)[CONFIG]["sampler"]["_target_"] == "ddpm_lightning.diffusion.samplers.unipc.UniPC"
    train(tmp_path / "run", *unipc, "trainer.max_steps=6")
    assert torch.load(path, weights_only=True)["global_step"] == 6
    command("sample", f"checkpoint={path}", "num_images=1", f"hydra.run.dir={tmp_path / 'out'}")
