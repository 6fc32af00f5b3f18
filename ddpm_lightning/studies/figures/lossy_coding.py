"""Progressive lossy coding (Section 4.3, Table 4, Fig. 5): bits spent against the error that remains."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_lightning.evaluation.exact_bound import ExactBound, write_bound
from ddpm_lightning.evaluation.split_share import bound_origin
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.results import Records
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import Images

Arrays = dict[str, np.ndarray]
"""The terms of the bound by t, as `BoundByStep.arrays` returns them."""

ROWS_OF_TABLE = 10
"""As in the paper's Table 4."""


@dataclass
class LossyCoding(Figure):
    """Shows rate and distortion of the chain as a progressive code (Algorithms 3 and 4).

    x_T, x_{T−1}, … are sent one after another. Each costs its term of Eq. 5. Whoever has x_t estimates x̂_0 (Eq. 15),
    or draws x_0 ~ p_θ(x_0 | x_t). Processes share the images of the bound.

    Args:
        t: The t at which reconstructions are drawn. None means 3/4 T, …, T/100.
        num_rows: Number of images that are drawn.
        bound: Measures the rate (its terms) and the distortion (its errors of x̂_0).
    """

    t: list[int] | None = None
    num_rows: int = 8
    bound: ExactBound = field(default_factory=ExactBound)

    name = "lossy_coding"
    generates = False
    usual = (0.75, 0.5, 0.25, 0.1, 0.05, 0.01)

    def check(self, subject: Subject) -> None:
        trained = self.check_model(subject)
        trained.model.conditioning.check_free(self.name)
        self.generated(subject)
        self.check_steps("t", self.times(subject), trained)
        self.bound.check(subject)
        self.check_count("num_rows", 1)
        self.check_grid(trained, self.num_rows, 1 + 2 * len(self.times(subject)))

    def measure(self, subject: Subject) -> Records:
        """Returns rate and distortion by t; writes NAME.png, NAME.csv, NAME.npz and NAME_images.png."""
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
        """Draws a row for each image: itself, and for each t its x̂_0 and an x_0 drawn from x_t."""
        x_0 = self.images_of(chain.subject, self.bound.split, first=self.num_rows)
        titles, columns = ["x_0"], [chain.to_bytes(x_0)]
        for t in chain.nearest_of(self.times(chain.subject)):
            titles += [f"t = {t}\n{arrays['rate'][t - 1]:.3g}\nbits/dim\nx̂_0", "then\nx_0"]
            columns += map(chain.to_bytes, self._reconstruct(chain, x_0, t))
        sampler = chain.images.sampler.label(chain.images.model)
        sentence = (
            f"Images of the {self.bound.split} split, and what the model makes of x_t, with the rate of x_t: the guess "
            f"x̂_0 (Eq. 15), and an image drawn from x_t by the chain ({sampler})."
        )
        self.save_grid(chain.subject, list(zip(*columns, strict=True)), titles, sentence, "_images")

    def _reconstruct(self, chain: Chain, x_0: Images, t: int) -> tuple[Images, Images]:
        """Returns x̂_0 at x_t ~ q(x_t | x_0), and x_0 ~ p_θ(x_0 | x_t). The noise in x_t is the same for every t."""
        numbers = range(len(x_0))
        x_t = chain.encode(x_0, t, numbers, "lossy coding")
        first = next(chain.walk(x_t, chain.place(t), chain.noise(numbers, "lossy decoding")))
        return first.x_0_hat, chain.decode(x_t, t, numbers, "lossy decoding")


def table(arrays: Arrays) -> list[dict[str, Any]]:
    """Returns the paper's Table 4: rate and distortion after T, 9/10 T, …, 1/10 T reverse steps (T − t + 1 of them)."""
    T = len(arrays["t"])
    moments = np.linspace(T, 0, ROWS_OF_TABLE, endpoint=False).round().clip(1).astype(int).tolist()
    return [
        {"t": t, "steps": T - t + 1, "rate": float(arrays["rate"][t - 1]), "distortion": float(arrays["rmse"][t - 1])}
        for t in dict.fromkeys(T - steps + 1 for steps in moments)
    ]


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes the rows of a table as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
