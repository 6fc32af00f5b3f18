"""Layers only: (x, t) -> tensor. Knows nothing of diffusion."""
