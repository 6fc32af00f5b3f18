"""Averages of the weights whose length is chosen after training (Karras et al., 2024, Section 3)."""
