"""Networks, which map (x, t) to a tensor and know nothing of diffusion."""
