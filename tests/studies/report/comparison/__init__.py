"""Tests of ddpm_lightning.studies.report.comparison."""
