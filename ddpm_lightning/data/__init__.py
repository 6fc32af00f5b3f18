"""LightningDataModules, which own images, their shapes and levels, and convert integers to [−1, 1] and back."""
