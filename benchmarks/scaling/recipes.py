"""The recipes of the plan, read from conf/, and the speed that the paper reports for them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.scaling.formulas import NetworkCost
from benchmarks.sides.ours import configured
from benchmarks.sides.shape import Shape


@dataclass(frozen=True)
class Recipe:
    """A recipe of train.py: its network, the batch size and the number of optimizer steps."""

    name: str
    shape: Shape
    batch_size: int
    steps: int

    @property
    def cost(self) -> NetworkCost:
        return NetworkCost(self.shape)

    @property
    def training(self) -> int:
        """Operations of the whole training."""
        return self.steps * self.batch_size * self.cost.step


def recipe(name: str, *options: str) -> Recipe:
    """Returns the recipe of `python train.py experiment=NAME`."""
    config = configured(f"experiment={name}", *options)
    batch_size, steps = config["data"]["batch_size"], config["trainer"]["max_steps"]
    return Recipe(name, shape_of(config["network"], config["data"].get("side", 32)), batch_size, steps)


def shape_of(network: dict[str, Any], side: int) -> Shape:
    """Returns the shape of a configuration's network, for images of this side."""
    fields = ("channels", "num_res_blocks", "groups", "dropout")
    lists = {name: tuple(network[name]) for name in ("multipliers", "attention")}
    return Shape(side=side, **lists, **{name: network[name] for name in fields})


@cache
def recipes() -> tuple[Recipe, ...]:
    """Returns the recipes for CIFAR-10 and 256×256."""
    large = (recipe(name, "data.root=unused") for name in ("celebahq256", "lsun256", "lsun_bedroom_large"))
    return (recipe("cifar10"), *large)


@dataclass(frozen=True)
class PapersSpeed:
    """The speed of Appendix B on a TPU v3-8: optimizer steps/s, and seconds for a batch of samples."""

    recipe: str
    steps_per_s: float
    samples: int
    seconds: float


PAPERS_SPEEDS = (PapersSpeed("cifar10", 21, 256, 17), PapersSpeed("celebahq256", 2.2, 128, 300))
T = 1000
