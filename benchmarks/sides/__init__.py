"""The sides that are compared: ours, the peers, and what they share."""
