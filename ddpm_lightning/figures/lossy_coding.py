"""Progressive lossy coding (Section 4.3, Table 4, Fig. 5): bits spent against how well an image is known by then."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_lightning.errors import check_at_most, check_whole
from ddpm_lightning.figures.canvas import grid, new_figure, save_figure, say
from ddpm_lightning.figures.figure import Figure
from ddpm_lightning.figures.latents import Chain
from ddpm_lightning.training.evaluation.bound import ExactBound
from ddpm_lightning.training.evaluation.split import bound_origin
from ddpm_lightning.training.evaluation.subject import Subject
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
    are shown, of num_rows images.
    """

    t: list[int]
    num_rows: int = 8
    bound: ExactBound = field(default_factory=ExactBound)

    name = "lossy_coding"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, no such t, or no such split."""
        trained = self.trained(subject)
        self.generated(subject)
        self.check_steps(self.t, trained)
        self.bound.check(subject)
        check_whole(f"figure.{self.name}.num_rows", self.num_rows, 1, "an image is a row")
        check_at_most(f"figure.{self.name}.num_rows", self.num_rows, 64, "no eye takes in more")

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Rate and distortion by t; lossy_coding.png, .csv, .npz and lossy_coding_images.png."""
        bound = self.bound.by_step(subject)
        if not subject.fabric.is_global_zero:
            return {}
        arrays = bound.arrays()
        folder = subject.run_dir
        np.savez(folder / f"{self.name}.npz", **arrays)  # type: ignore[arg-type]
        rows = table(arrays)
        write_table(rows, folder / f"{self.name}.csv")
        self._draw_curves(arrays, folder, bound.total.count)
        self._draw_images(Chain(subject, self.generated(subject)), arrays)
        trained = self.trained(subject)
        origin = bound_origin(trained, self.bound.split, self.bound.clip_x_0, bound.total.count)
        at_the_end = {"value": rows[0]["rate"], "rmse": rows[0]["distortion"], "unit": "bits/dim", "table": rows}
        term = "L_T + Σ_{t>1} L_{t−1}: the rate when x_1 is known; table: the paper's Table 4"
        return {f"{self.name}{trained.suffix}": {**at_the_end, "term": term, **origin}}

    def _draw_curves(self, arrays: Arrays, folder: Path, count: int) -> None:
        figure = new_figure(12, 4)
        distortion, rate, trade = figure.subplots(1, 3)
        steps = len(arrays["t"]) - arrays["t"] + 1
        distortion.plot(steps, arrays["rmse"])
        distortion.set(xlabel="reverse steps taken (T − t + 1)", ylabel="distortion (RMSE of 0–255)")
        rate.plot(steps, arrays["rate"])
        rate.set(xlabel="reverse steps taken (T − t + 1)", ylabel="rate (bits/dim)")
        trade.plot(arrays["rate"], arrays["rmse"])
        trade.set(xlabel="rate (bits/dim)", ylabel="distortion (RMSE of 0–255)")
        for axes in (distortion, rate, trade):
            axes.grid(alpha=0.3)
        say(
            figure,
            f"Distortion of x̂_0 and bits received so far, as the chain runs, over {count} images of the "
            f"{self.bound.split} split: the first bits buy the most. The paper's Fig. 5.",
        )
        save_figure(figure, folder / f"{self.name}.png")

    def _draw_images(self, chain: Chain, arrays: Arrays) -> None:
        """A row an image: itself, and for each t its x̂_0 and a draw of p_θ(x_0 | x_t)."""
        x_0 = self._first_images(chain)
        to_bytes = chain.images.data.pixels.to_bytes
        columns, pictures = ["x_0"], [to_bytes(x_0)]
        for t in chain.nearest_of(self.t):
            x_0_hat, drawn = self._reconstruct(chain, x_0, t)
            price = f"{arrays['rate'][t - 1]:.3g} bits/dim"
            columns += [f"t = {t}\n{price}\nx̂_0", "x_0 ~ p"]
            pictures += [to_bytes(x_0_hat), to_bytes(drawn)]
        cells = [[column[row] for column in pictures] for row in range(len(x_0))]
        sentence = (
            f"Images of the {self.bound.split} split, and what is known of them from x_t, for so many bits: the best "
            "guess x̂_0 (Eq. 15), and a draw from p_θ(x_0 | x_t)."
        )
        figure = grid(cells, columns, [""] * len(x_0), sentence)
        save_figure(figure, chain.subject.run_dir / f"{self.name}_images.png")

    def _first_images(self, chain: Chain) -> Images:
        data = self.trained(chain.subject).data
        batches = data.in_order(self.bound.split, chain.device, first=self.num_rows)
        return torch.cat([batch.x_0 for batch in batches])

    def _reconstruct(self, chain: Chain, x_0: Images, t: int) -> tuple[Images, Images]:
        """x̂_0 at x_t ~ q(x_t | x_0), and x_0 ~ p_θ(x_0 | x_t); the noise in x_t is the same for every t."""
        numbers = range(len(x_0))
        x_t = chain.encode(x_0, t, numbers, "lossy coding")
        first = next(chain.walk(x_t, chain.place(t), chain.noise(numbers, "lossy decoding")))
        return first.x_0_hat, chain.decode(x_t, t, numbers, "lossy decoding")


def table(arrays: Arrays) -> list[dict[str, Any]]:
    """The paper's Table 4: rate and distortion at ten moments, the last one first."""
    T = len(arrays["t"])
    ts = [T - steps + 1 for steps in np.linspace(T, 0, ROWS_OF_TABLE, endpoint=False).round().astype(int).tolist()]
    return [
        {"t": t, "steps": T - t + 1, "rate": float(arrays["rate"][t - 1]), "distortion": float(arrays["rmse"][t - 1])}
        for t in dict.fromkeys(ts)
    ]


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes the rows as .csv."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
