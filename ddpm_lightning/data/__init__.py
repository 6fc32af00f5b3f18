"""LightningDataModules: owners of images, shapes, levels, and the way from integers to [−1, 1] and back."""
