"""The sides of the comparisons: ours, the peers, and what they share."""
