"""The numbers of the paper's Table 2: Inception score and FID on CIFAR-10 by prediction, variance and loss."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of the paper's Table 2.

    Args:
        objective: The loss and the variance in the paper's words.
        isc: Inception score. None if training was unstable, or the score out of range.
        fid: FID, likewise.
    """

    objective: str
    isc: str | None = None
    fid: str | None = None


PREDICTIONS = {
    "mu": "μ̃ prediction (baseline)",
    "epsilon": "ε prediction (ours)",
    "x0": "x_0 prediction",
    "v": "v prediction",
}
"""Names of what the network predicts, by parameterization."""

LEARNED, FIXED = "L, learned diagonal Σ", "L, fixed isotropic Σ"

TABLE_2 = {
    ("mu", "learned", "elbo"): Published(LEARNED, "7.28±0.10", "23.69"),
    ("mu", "beta", "elbo"): Published(FIXED, "8.06±0.09", "13.22"),
    ("mu", "beta", "simple"): Published("‖μ̃ − μ̃_θ‖²"),
    ("epsilon", "learned", "elbo"): Published(LEARNED),
    ("epsilon", "beta", "elbo"): Published(FIXED, "7.67±0.13", "13.51"),
    ("epsilon", "beta", "simple"): Published("‖ε̃ − ε_θ‖² (L_simple)", "9.46±0.11", "3.17"),
}
"""The rows by (parameterization, variance, loss), in the paper's order."""
