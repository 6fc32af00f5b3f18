"""Measures speed, memory and cost of the platform, side by side with its peers. `python -m benchmarks --list`"""
