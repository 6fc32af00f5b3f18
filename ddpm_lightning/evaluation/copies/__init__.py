"""Measurements of whether a model copies its training images."""
