"""How far a run is, as results.json and the configuration say."""

from typing import Any

TRAINING = "training"
"""The key in results.json that says whether the training is finished, at which step and of how many."""

ENDED_EARLY = "ended_early"
"""The key in checkpoints and results.json that marks a run whose training a callback ended before its last step."""


def has_all_steps(results: dict[str, Any], max_steps: int) -> bool:
    """Returns whether there are metrics, and all were measured after at least `max_steps` optimizer steps."""
    try:
        return bool(min(record["step"] for record in results["metrics"].values()) >= max_steps)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def metrics_after_training(config: dict[str, Any]) -> set[str]:
    """Returns the names of the metrics that are measured after training (metrics=)."""
    return {name for name, node in (config.get("metrics") or {}).items() if node is not None}
