"""Launches the jobs of a sweep, here or on Slurm, and reports their failures."""
