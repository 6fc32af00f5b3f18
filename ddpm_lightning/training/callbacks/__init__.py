"""Callbacks of training, each of which can be switched on and off."""
