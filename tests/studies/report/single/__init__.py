"""Tests of ddpm_lightning.studies.report.single."""
