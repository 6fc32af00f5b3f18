"""Compares runs with one another."""
