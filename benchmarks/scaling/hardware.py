"""Published numbers of the machines of the plan. None of them is measured here."""

from dataclasses import dataclass

TERA, GIGA = 1e12, 1e9

PEAK = 989 * TERA
"""Operations/s of an H100 SXM: bf16, dense (NVIDIA H100 datasheet)."""

PEAK_FLOAT32 = 67 * TERA
"""Operations/s of an H100 SXM in float32 without tensor cores, as Inception runs."""

MEMORY = 80 * GIGA
"""Bytes of memory of an H100."""

TPU_V3_8 = 420 * TERA
"""Operations/s of a Cloud TPU v3-8, on which the paper's models were trained (Google's figure for the board)."""

PER_NODE = 8
"""Number of GPUs of a DGX H100."""


@dataclass(frozen=True)
class Link:
    """A connection between GPUs.

    Args:
        bandwidth: Bytes/s in one direction that a GPU can send while all others send, too.
    """

    name: str
    bandwidth: float


NVLINK = Link("NVLink, inside a node (450 GB/s a GPU)", 450 * GIGA)
RAILS = Link("InfiniBand, 8 × 400 Gb/s a node (400 GB/s)", 8 * 50 * GIGA)
ONE_RAIL = Link("InfiniBand, 400 Gb/s a node (50 GB/s)", 50 * GIGA)
ETHERNET = Link("Ethernet, 100 Gb/s a node (12.5 GB/s)", 12.5 * GIGA)
BETWEEN = (RAILS, ONE_RAIL, ETHERNET)
"""The link between nodes. A ring enters and leaves a node once, so the node's whole bandwidth serves it."""
