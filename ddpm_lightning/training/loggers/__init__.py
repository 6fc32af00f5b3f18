"""Loggers for the numbers and pictures of training."""
