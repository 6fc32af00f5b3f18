"""Image files: finds them in folders, and decodes them."""
