"""Trains a model with Lightning: the module, the trainer, callbacks, checkpoints and resuming."""
