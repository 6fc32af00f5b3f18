"""Scores of generated images, computed from the features of fixed classifiers."""
