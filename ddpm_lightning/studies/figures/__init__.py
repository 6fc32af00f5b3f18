"""Figures of a trained model, those of the paper and others, each with the numbers behind it."""
