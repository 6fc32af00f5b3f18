"""Table 2 of the paper: CIFAR-10, inception score and FID, by what is predicted, the variance and the loss."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A row of the paper. objective: in its words. None: unstable to train, or scores out of range."""

    objective: str
    isc: str | None = None
    fid: str | None = None


PREDICTIONS = {
    "mu": "μ̃ prediction (baseline)",
    "epsilon": "ε prediction (ours)",
    "x0": "x_0 prediction",
    "v": "v prediction",
}
"""What is predicted, by parameterization, in the paper's words where it has it."""

LEARNED, FIXED = "L, learned diagonal Σ", "L, fixed isotropic Σ"

TABLE_2 = {
    ("mu", "learned", "elbo"): Published(LEARNED, "7.28±0.10", "23.69"),
    ("mu", "beta", "elbo"): Published(FIXED, "8.06±0.09", "13.22"),
    ("mu", "beta", "simple"): Published("‖μ̃ − μ̃_θ‖²"),
    ("epsilon", "learned", "elbo"): Published(LEARNED),
    ("epsilon", "beta", "elbo"): Published(FIXED, "7.67±0.13", "13.51"),
    ("epsilon", "beta", "simple"): Published("‖ε̃ − ε_θ‖² (L_simple)", "9.46±0.11", "3.17"),
}
"""By (parameterization, variance, loss), in the paper's order."""
