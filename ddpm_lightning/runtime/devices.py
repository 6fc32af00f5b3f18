"""Chooses and checks the accelerator and the precision of a command."""

import torch

from ddpm_lightning.errors import UserError

PRECISIONS = ("auto", "32-true", "bf16-mixed")


def choose_accelerator(accelerator: str) -> str:
    """Returns the accelerator; for "auto" it is "cuda" if PyTorch can use a GPU, else "cpu"."""
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def check_accelerator(accelerator: str) -> None:
    """Raises UserError if this machine lacks the accelerator, or if it cannot compute in float64."""
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={accelerator} needs a GPU that PyTorch can use (CUDA or ROCm), and this machine has "
            "none; use trainer.accelerator=cpu (instead of trainer=ddp: trainer=ddp_cpu)"
        )
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise UserError(
            f"trainer.accelerator={accelerator} is none of auto, cpu, gpu, cuda: the tables of the diffusion process "
            "are float64, which Apple's GPUs and TPUs do not have; use one of these"
        )


def check_precision(precision: str, accelerator: str) -> str:
    """Returns the precision, with "auto" resolved for the accelerator. Raises UserError for an unsupported one."""
    if precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision={precision} is none of {', '.join(PRECISIONS)}: float16 would need its "
            "gradients scaled, and weights in bf16 would round small updates away; choose one of these"
        )
    return native_precision(accelerator) if precision == "auto" else precision


def native_precision(accelerator: str) -> str:
    """Returns "bf16-mixed" if the hardware computes in bf16, else "32-true": emulated bf16 is slower."""
    on_gpu = accelerator in ("gpu", "cuda") and torch.cuda.is_available()
    native = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _cpu_computes_in_bf16()
    return "bf16-mixed" if native else "32-true"


def _cpu_computes_in_bf16() -> bool:
    # torch has no public function for this.
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
