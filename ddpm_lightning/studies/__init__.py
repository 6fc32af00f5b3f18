"""What is built on top of trained models: figures, reports, weights in and out, shards."""
