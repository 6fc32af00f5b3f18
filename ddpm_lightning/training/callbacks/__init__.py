"""What happens around the training steps; each file is one thing to switch on or off."""
