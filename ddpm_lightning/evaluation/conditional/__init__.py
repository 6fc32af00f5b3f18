"""Measurements and samples of models that are conditioned on classes, or guided."""
