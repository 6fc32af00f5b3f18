"""Tests of ddpm_lightning.diffusion.conditional."""
