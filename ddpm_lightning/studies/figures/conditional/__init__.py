"""Figures of models that are conditioned on classes."""
