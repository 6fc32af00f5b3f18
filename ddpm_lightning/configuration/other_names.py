"""Names that users of other projects may type, and the options that stand for them here."""

from collections.abc import Mapping
from typing import Any

_STEPS = ("steps", "num_steps", "max_steps", "total_steps", "train_steps", "iterations", "epochs", "max_epochs")
_CHECKPOINT = ("ckpt_path", "ckpt", "checkpoint", "resume_from_checkpoint", "model_path", "pretrained")

OTHER_NAMES = {
    "optimizer.lr": ("lr", "learning_rate", "base_lr"),
    "lr": ("learning_rate", "base_lr"),
    "data.batch_size": ("batch_size", "train_batch_size"),
    "trainer.max_steps": (*_STEPS, "num_epochs"),
    "steps": (*_STEPS, "num_epochs"),
    "sampler.num_steps": ("steps", "num_steps", "num_inference_steps", "sampling_steps", "ddim_steps"),
    "callbacks.ema.decay": ("ema", "ema_decay", "ema_rate"),
    "module.max_grad_norm": ("gradient_clip", "gradient_clip_val", "grad_clip", "clip_grad", "max_grad_norm"),
    "module.warmup_steps": ("warmup", "warmup_steps"),
    "trainer.accumulate_grad_batches": ("accumulate_grad_batches", "gradient_accumulation_steps"),
    "trainer.devices": ("gpus", "num_gpus", "devices"),
    "trainer.accelerator": ("accelerator", "device"),
    "trainer.precision": ("precision", "fp16", "amp", "mixed_precision"),
    "checkpoint": _CHECKPOINT,
    "init_from": _CHECKPOINT,
    "hydra.run.dir": ("output_dir", "out_dir", "save_dir", "logdir", "default_root_dir"),
    "num_images": ("num_samples", "n_samples"),
    "data.num_workers": ("num_workers",),
    "schedule.T": ("T", "num_timesteps", "num_train_timesteps", "diffusion_steps"),
    "schedule": ("beta_schedule", "noise_schedule"),
    "network": ("model", "unet"),
    "network.dropout": ("dropout",),
    "data": ("dataset",),
    "data.root": ("data_dir", "data_path"),
}
"""For each option, its names elsewhere."""

_NOTES = {
    "init_from": "it starts a new run with those weights; to resume a run, repeat its options with hydra.run.dir=RUN"
}


def options_named(name: str, known: Mapping[Any, Any]) -> list[str]:
    """Returns those options of a command that other projects call `name`.

    Args:
        name: a name that the user typed.
        known: the configuration of the command.
    """
    return [key for key, names in OTHER_NAMES.items() if name in names and has(known, key)]


def note_on(options: list[str]) -> str:
    """Returns what to know about these options, or ""."""
    return "".join(f": {_NOTES[each]}" for each in options if each in _NOTES)


def has(node: Any, key: str) -> bool:
    """Returns whether a node of a configuration holds a key, such as trainer.max_steps."""
    name, _, rest = key.partition(".")
    return isinstance(node, Mapping) and name in node and (not rest or has(node[name], rest))
