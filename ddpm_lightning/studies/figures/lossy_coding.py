"""Progressive lossy coding (Section 4.3, Table 4, Fig. 5): bits spent against how well an image is known by then."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_lightning.errors import check_whole
from ddpm_lightning.evaluation.exact_bound import ExactBound, write_bound
from ddpm_lightning.evaluation.split_share import bound_origin
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import save_grid
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import Images

Arrays = dict[str, np.ndarray]
"""What `BoundByStep.arrays` gives."""

ROWS_OF_TABLE = 10
"""As in the paper's Table 4."""


@dataclass
class LossyCoding(Figure):
    """Algorithms 3 and 4: x_T, x_{T−1}, … are sent one after another, each at the price of a term of Eq. 5; whoever has
    x_t estimates x̂_0 (Eq. 15), or draws x_0 ~ p_θ(x_0 | x_t).

    bound: whose terms are the rate, and whose squared errors of x̂_0 are the distortion. t: where the reconstructions
    are shown, of num_rows images; None: at 3/4 T … T/100.
    """

    t: list[int] | None = None
    num_rows: int = 8
    bound: ExactBound = field(default_factory=ExactBound)

    name = "lossy_coding"
    usual = (0.75, 0.5, 0.25, 0.1, 0.05, 0.01)

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, no such t, or no such split."""
        trained = self.check_model(subject)
        self.generated(subject)
        self.check_steps("t", self.times(subject), trained)
        self.bound.check(subject)
        check_whole(self.option("num_rows"), self.num_rows, 1, "an image is a row")
        self.check_grid(trained, self.num_rows, 1 + 2 * len(self.times(subject)))

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Rate and distortion by t; lossy_coding.png, .csv, .npz and lossy_coding_images.png."""
        bound = self.bound.by_step(subject)
        if not subject.fabric.is_global_zero:
            return {}
        trained, arrays = self.trained(subject), bound.arrays()
        label = self.bound.label(trained)
        write_bound(subject.run_dir / self.name, arrays, label)
        rows = table(arrays)
        write_table(rows, subject.run_dir / f"{self.name}.csv")
        self._draw_images(self.chain(subject), arrays)
        record = {
            "value": rows[0]["rate"],
            "unit": "bits/dim",
            "term": "L_T + Σ_{t>1} L_{t−1}: the rate when x_1 is known; table: the paper's Table 4",
            "rmse": rows[0]["distortion"],
            "table": rows,
            **bound_origin(trained, self.bound.split, self.bound.clip_x_0, bound.total.count),
        }
        return {f"{self.name}_{self.bound.split}_{label}": record}

    def _draw_images(self, chain: Chain, arrays: Arrays) -> None:
        """A row an image: itself, and for each t its x̂_0 and an x_0 that x_t leads to."""
        x_0 = self.images_of(chain.subject, self.bound.split, first=self.num_rows)
        columns, pictures = ["x_0"], [chain.to_bytes(x_0)]
        for t in chain.nearest_of(self.times(chain.subject)):
            x_0_hat, drawn = self._reconstruct(chain, x_0, t)
            columns += [f"t = {t}\n{arrays['rate'][t - 1]:.3g}\nbits/dim\nx̂_0", "then\nx_0"]
            pictures += [chain.to_bytes(x_0_hat), chain.to_bytes(drawn)]
        save_grid(
            [[column[row] for column in pictures] for row in range(len(x_0))],
            columns,
            (),
            f"Images of the {self.bound.split} split, and what is known of them from x_t, for so many bits: the guess "
            f"x̂_0 (Eq. 15), and where the chain leads from there ({chain.images.sampler.label(chain.images.model)}).",
            chain.subject.run_dir / f"{self.name}_images.png",
        )

    def _reconstruct(self, chain: Chain, x_0: Images, t: int) -> tuple[Images, Images]:
        """x̂_0 at x_t ~ q(x_t | x_0), and x_0 ~ p_θ(x_0 | x_t); the noise in x_t is the same for every t."""
        numbers = range(len(x_0))
        x_t = chain.encode(x_0, t, numbers, "lossy coding")
        first = next(chain.walk(x_t, chain.place(t), chain.noise(numbers, "lossy decoding")))
        return first.x_0_hat, chain.decode(x_t, t, numbers, "lossy decoding")


def table(arrays: Arrays) -> list[dict[str, Any]]:
    """The paper's Table 4: rate and distortion after T, 9/10 T, … 1/10 T of the reverse steps, T − t + 1 of them."""
    T = len(arrays["t"])
    moments = np.linspace(T, 0, ROWS_OF_TABLE, endpoint=False).round().clip(1).astype(int).tolist()
    return [
        {"t": t, "steps": T - t + 1, "rate": float(arrays["rate"][t - 1]), "distortion": float(arrays["rmse"][t - 1])}
        for t in dict.fromkeys(T - steps + 1 for steps in moments)
    ]


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes the rows as .csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
