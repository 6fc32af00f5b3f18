"""Models that are conditioned on a class y, p_θ(x_{t−1} | x_t, y), and the guidance of their samples."""
