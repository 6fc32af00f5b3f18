"""Inception weights of the real format, drawn at random, for parity where the real ones cannot be had."""

from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


def write_random_weights(path: Path) -> Path:
    """A file that torch-fidelity takes for weights-inception-2015-12-05-6726825d.pth."""
    torch.manual_seed(0)
    with patch.object(nn.Module, "load_state_dict"), patch("torch.load"):
        network = FeatureExtractorInceptionV3("random", ["2048"], "nothing")
    for part in network.modules():
        if isinstance(part, nn.Conv2d):  # PyTorch's own initialisation would let the signal die on its way
            nn.init.kaiming_normal_(part.weight)
    torch.save(network.state_dict(), path)
    return path
