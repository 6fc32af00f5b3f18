"""Tools around trained models: figures, reports, import and export of weights, shards of images."""
