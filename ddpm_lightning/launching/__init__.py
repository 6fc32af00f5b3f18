"""How Hydra launches the jobs of a sweep, and how their failures are told."""
