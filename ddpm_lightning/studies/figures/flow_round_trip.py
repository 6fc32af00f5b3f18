"""The probability flow: what test images are encoded to, and how well they come back."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ddpm_lightning.diffusion.probability_flow import CALLS_PER_STEP, ProbabilityFlow, check_num_steps
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.exact_bound import PIXEL_SCALE
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import draw_errors, mark, save_curves, save_grid
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.studies.figures.plane import are_points, draw_ways
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.typing import Images

BINS = 60


class Trip(NamedTuple):
    """Of one solver: x after each of its steps to x_T (of images after the last alone, for they are large), and what
    came back."""

    way: list[Images]
    back: Images

    @property
    def x_T(self) -> Images:
        return self.way[-1]


@dataclass
class Flow(Figure):
    """The first num_images test images, led by the flow to x_T and back, by solvers of so many `steps` each way. They
    are blurred by σ_1 first, for it is such data that the flow leads to N(0, I).

    Measured: RMSE between an image and what came back, on the scale 0–255 or, of points, in the plane; and by the
    finest solver, the mean of x_T's coordinates and of their squares: 0 and 1, were they N(0, 1). Drawn: both, and
    num_rows images, or the ways of points. One process does the work.
    """

    steps: list[int]
    num_images: int = 256
    num_rows: int = 6

    name = "probability_flow"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, or a number makes no sense."""
        trained = self.trained(subject)
        self.generated(subject)
        if not are_points(trained):
            self.check_model(subject)
            self.check_grid(trained, self.num_rows, 2 + len(self.steps))
        if not self.steps:
            raise UserError(f"{self.option('steps')}=[] asks for no solver; use [5,10,20,50]")
        for steps in self.steps:
            check_num_steps(self.option("steps"), steps)
        check_whole(self.option("num_images"), self.num_images, 2, "an error needs two; use 256")
        check_at_most(self.option("num_images"), self.num_images, len(trained.data.images("test")), "there are no more")
        check_whole(self.option("num_rows"), self.num_rows, 1, "an image is a row; use 6")
        check_at_most(self.option("num_rows"), self.num_rows, self.num_images, "num_images are no more")

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """RMSE by steps, moments of x_T; probability_flow.png and probability_flow_images.png or _paths.png."""
        if not subject.fabric.is_global_zero:
            return {}
        chain = self.chain(subject)
        x_0 = self._blurred(chain, self.images_of(subject, "test", first=self.num_images))
        trips = self._there_and_back(chain, x_0)
        finest = trips[max(self.steps)]
        errors = {steps: MeanAndError.of(self._rmse(subject, x_0, trip.back)) for steps, trip in trips.items()}
        self._draw_curves(chain, errors, finest.x_T)
        if are_points(self.trained(subject)):
            self._draw_paths(chain, [x_0, *finest.way])
        else:
            self._draw_images(chain, x_0, finest.x_T, {steps: trip.back for steps, trip in trips.items()})
        return {**self._round_trips(subject, errors), **self._moments(subject, finest.x_T)}

    def _blurred(self, chain: Chain, x_0: Images) -> Images:
        """x_0 + σ_1 ε."""
        eps = chain.noise(range(len(x_0)), "flow").randn_like(x_0)
        first = torch.ones(len(x_0), dtype=torch.int64, device=x_0.device)
        return VarianceExploding(chain.images.model.process).q_sample(x_0, first, eps)

    def _there_and_back(self, chain: Chain, x_0: Images) -> dict[int, Trip]:
        """By steps of the solver, the coarsest first."""
        flows = [ProbabilityFlow(chain.images.model, steps) for steps in sorted(self.steps)]
        total = 2 * len(x_0) * sum(flow.calls for flow in flows)
        bar = progress_bar(total=total, desc=self.name, unit="call", unit_scale=True, leave=False)
        with evaluating(chain.images.model), chain.subject.fabric.autocast(), bar:
            return {flow.num_steps: self._trip(chain, flow, x_0, bar) for flow in flows}

    def _trip(self, chain: Chain, flow: ProbabilityFlow, x_0: Images, bar: "tqdm[Any]") -> Trip:
        """In batches of the images' batch_size."""
        trips = [self._trip_of_batch(chain, flow, part, bar) for part in torch.split(x_0, chain.images.batch_size)]
        ways = zip(*(trip.way for trip in trips), strict=True)
        return Trip([torch.cat(places) for places in ways], torch.cat([trip.back for trip in trips]))

    def _trip_of_batch(self, chain: Chain, flow: ProbabilityFlow, x_0: Images, bar: "tqdm[Any]") -> Trip:
        way: deque[Images] = deque(maxlen=None if are_points(self.trained(chain.subject)) else 1)

        def each_step(x: Images) -> None:
            STOP.check()
            bar.update(CALLS_PER_STEP * len(x))

        def on_the_way(x: Images) -> None:
            each_step(x)
            way.append(x)

        x_T = flow.encode(x_0, on_the_way)
        return Trip(list(way), flow.decode(x_T, each_step))

    def _rmse(self, subject: Subject, x_0: Images, back: Images) -> Tensor:
        """Of each image, on the scale of `_unit`: [n]."""
        scale = 1.0 if are_points(self.trained(subject)) else PIXEL_SCALE
        return scale * (x_0 - back).square().flatten(1).mean(1).sqrt().cpu()

    def _unit(self, subject: Subject) -> str:
        return "of the plane" if are_points(self.trained(subject)) else "of 0–255"

    def _round_trips(self, subject: Subject, errors: dict[int, MeanAndError]) -> dict[str, dict[str, Any]]:
        trained = self.trained(subject)
        return {
            f"flow_round_trip_rmse_{steps}steps{trained.suffix}": {
                **error.stated(),
                "unit": self._unit(subject),
                "network_calls": 2 * ProbabilityFlow(trained.model, steps).calls,
                "num_images": self.num_images,
                **trained.origin,
            }
            for steps, error in errors.items()
        }

    def _moments(self, subject: Subject, x_T: Images) -> dict[str, dict[str, Any]]:
        """Mean of the coordinates, and of their squares; errors over images."""
        trained = self.trained(subject)
        of_images = {"mean": x_T, "square": x_T.square()}
        found = {name: MeanAndError.of(x.flatten(1).mean(1).cpu()) for name, x in of_images.items()}
        return {
            f"flow_x_T_{name}_{max(self.steps)}steps{trained.suffix}": {
                **each.stated(),
                "of_a_normal_distribution": {"mean": 0.0, "square": 1.0}[name],
                "num_images": self.num_images,
                **trained.origin,
            }
            for name, each in found.items()
        }

    def _draw_curves(self, chain: Chain, errors: dict[int, MeanAndError], x_T: Images) -> None:
        figure, (trips, latents) = panels(2, width=10)
        draw_errors(trips, errors)
        unit = self._unit(chain.subject)
        trips.set(xscale="log", yscale="log", xlabel="steps of the solver", ylabel=f"RMSE after both ways ({unit})")
        mark(trips, list(errors))
        line = torch.linspace(-4, 4, 200)
        latents.hist(x_T.flatten().cpu().numpy(), bins=BINS, range=(-4, 4), density=True, label="x_T of test data")
        latents.plot(line, (-line.square() / 2).exp() / math.sqrt(2 * math.pi), color="black", label="N(0, 1)")
        latents.set(xlabel="coordinate of x_T", ylabel="density")
        latents.legend(fontsize="small")
        sentence = (
            f"{self.num_images} test examples, blurred by σ_1, encoded by the probability flow and decoded again: "
            f"how far off they come back, by steps of the solver each way ({CALLS_PER_STEP} network calls each); and "
            f"what they are encoded to, by {max(self.steps)} steps."
        )
        save_curves(figure, sentence, chain.subject.run_dir / f"{self.name}.png")

    def _draw_images(self, chain: Chain, x_0: Images, x_T: Images, back: dict[int, Images]) -> None:
        columns = [chain.to_bytes(x[: self.num_rows]) for x in (x_0, x_T, *back.values())]
        save_grid(
            [[column[row] for column in columns] for row in range(self.num_rows)],
            ["x_0", "x_T", *(f"back in\n{steps} steps" for steps in back)],
            (),
            "Test images, what the probability flow encodes them to, and what it decodes again.",
            chain.subject.run_dir / f"{self.name}_images.png",
        )

    def _draw_paths(self, chain: Chain, way: list[Images]) -> None:
        sentence = f"The ways of {self.num_images} test points along the probability flow, from x_0 to x_T."
        draw_ways(torch.stack(way[::-1]), sentence, chain.subject.run_dir / f"{self.name}_paths.png")
