"""Imports weights of other projects, and exports ours."""
