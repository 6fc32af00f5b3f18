"""Turns typed options into objects: composes, checks and builds the configuration."""
