"""Converts images from folders and databases to shards: each is cropped and resized once."""
