"""The base class of benchmarks: a question, its settings as fields, and a method that answers it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.findings import Findings


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """Answers one question by measurement. Its fields are its settings.

    Args:
        name: The name of its file of results.
        rounds: How often the sides take turns.
    """

    name: str
    rounds: int = 7

    question: ClassVar[str]

    @property
    def command(self) -> str:
        """The command that repeats the measurement."""
        return f"python -m benchmarks {self.name}"

    @abstractmethod
    def measure(self) -> Findings:
        """Measures, and returns the findings."""
