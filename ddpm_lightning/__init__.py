"""Denoising Diffusion Probabilistic Models (Ho, Jain & Abbeel, 2020) on PyTorch Lightning and Hydra."""

__version__ = "0.1.0"
