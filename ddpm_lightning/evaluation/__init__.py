"""Evaluates a checkpoint: bits/dim, generated images, and metrics of images."""
