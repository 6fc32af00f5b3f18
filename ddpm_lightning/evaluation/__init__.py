"""What evaluate.py does: bits/dim of a checkpoint, images from it, and what they are worth."""
