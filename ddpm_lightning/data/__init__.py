"""LightningDataModules: they own the images, their shape, their levels, and the way from integers to [−1, 1] and back."""
