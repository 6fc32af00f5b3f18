"""Counts floating-point operations on the meta device: exactly, equally on every machine, at no cost."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.sides.shape import Shape


def flops_of_step(make_network: Callable[[Shape], nn.Module], shape: Shape, batch_size: int) -> int:
    """Returns the operations of forward and backward."""
    return _count(make_network, shape, lambda output: output.sum().backward()) * batch_size


def flops_of_call(make_network: Callable[[Shape], nn.Module], shape: Shape, batch_size: int) -> int:
    """Returns the operations of forward."""
    return _count(make_network, shape, lambda output: None) * batch_size


def _count(make_network: Callable[[Shape], nn.Module], shape: Shape, after: Callable[[torch.Tensor], Any]) -> int:
    # The counter knows the products of attention only where it is computed by plain products.
    with torch.device("meta"), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = make_network(shape)(torch.randn(1, 3, shape.side, shape.side), torch.zeros(1, dtype=torch.long))
        after(output if isinstance(output, torch.Tensor) else output.sample)
    return int(counter.get_total_flops())
