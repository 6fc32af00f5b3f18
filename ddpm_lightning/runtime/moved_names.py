"""The present names of classes that checkpoints, results and configurations of version 0.1 name otherwise."""

from typing import Any

MOVED = {
    "diffusion.dpm_solver": "diffusion.samplers.dpm_solver",
    "diffusion.langevin": "diffusion.samplers.langevin",
    "diffusion.schedules.GeometricSchedule": "diffusion.schedules.geometric_schedule",
    "diffusion.spacing": "diffusion.samplers.spacing",
    "diffusion.unipc": "diffusion.samplers.unipc",
    "diffusion.variances.LearnedSigmoidVariance": "diffusion.variances.LearnedRangeVariance",
    "figures.probability_flow": "studies.figures.flow_round_trip",
    "figures.schedules": "studies.figures.schedules_compared",
    "figures.timesteps": "studies.figures.timesteps_compared",
    "figures": "studies.figures",
    "interchange.targets": "studies.interchange.destinations",
    "interchange": "studies.interchange",
    "report": "studies.report",
    "training.callbacks.bound": "training.callbacks.validation_bound",
    "training.callbacks.checkpoint": "training.callbacks.checkpoints",
    "training.callbacks.samples": "training.callbacks.previews",
    "training.evaluation.bound": "evaluation.exact_bound",
    "training.evaluation.bound_estimate": "evaluation.estimated_bound",
    "training.evaluation.flow": "evaluation.flow_likelihood",
    "training.evaluation": "evaluation",
    "training.metrics_csv": "training.loggers.metrics_csv",
    "training.outputs": "evaluation.sample_files",
    "training.run_dir": "runtime.run_directory",
    "training.slurm": "launching.slurm",
    "training.wandb_logger": "training.loggers.wandb_logger",
}
"""Old packages, modules and classes of ddpm_lightning, and their present names."""


def current_names(node: Any) -> Any:
    """Returns a copy of a configuration in which every `_target_` has its present name."""
    if isinstance(node, dict):
        return {key: current_name(value) if key == "_target_" else current_names(value) for key, value in node.items()}
    return [current_names(item) for item in node] if isinstance(node, list) else node


def current_name(target: Any) -> Any:
    """Returns the present name of a class; other values are returned unchanged."""
    package, _, name = target.partition(".") if isinstance(target, str) else ("", "", "")
    old = next((old for old in sorted(MOVED, key=len, reverse=True) if f"{name}.".startswith(f"{old}.")), None)
    return target if package != "ddpm_lightning" or old is None else f"{package}.{MOVED[old]}{name[len(old) :]}"
