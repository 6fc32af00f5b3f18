"""Computes what the recipes cost on H100s by formulas, and checks the formulas by measurement."""
