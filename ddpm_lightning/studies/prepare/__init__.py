"""From images as they are distributed to shards: each decoded once, cut to size, and kept to be found at once."""
