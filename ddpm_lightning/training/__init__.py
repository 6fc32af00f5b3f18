"""The paper on Lightning: module, callbacks, checkpoints, and the entry points that Hydra calls."""
