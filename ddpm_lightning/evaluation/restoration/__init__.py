"""The tasks of sample.py: reading the images that they are given."""
