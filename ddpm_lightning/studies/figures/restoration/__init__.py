"""Figures of the tasks on given images."""
