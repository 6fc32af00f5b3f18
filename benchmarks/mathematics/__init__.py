"""Measurements of the mathematics, for pages of experiments/."""
