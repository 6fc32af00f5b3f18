"""Image files: finding them in folders, and decoding one. The package's own rooms all may use it."""
