"""Tests of ddpm_lightning.report."""
