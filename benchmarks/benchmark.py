"""What every benchmark is: a question, its settings as fields, and a way to an answer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.findings import Findings


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """name: of its file of results. rounds: how often the sides take turns. The other fields are its settings, too."""

    name: str
    rounds: int = 7

    question: ClassVar[str]

    @property
    def command(self) -> str:
        """What measures it anew."""
        return f"python -m benchmarks {self.name}"

    @abstractmethod
    def measure(self) -> Findings:
        """Does the work."""
