"""The vision transformer DINOv2, whose features are compared in place of Inception's."""

import pickle
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torchvision.transforms.functional import normalize

from ddpm_lightning.errors import UserError, counted, shown
from ddpm_lightning.metrics.extractor import Extracted, Extractor, sha256_of
from ddpm_lightning.metrics.weight_files import published
from ddpm_lightning.typing import Features, FeatureVectors, Pixels, Tokens

URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
PUBLIC_SHA256 = "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"
"""The checksum of the public weights of ViT-L/14. Results with other weights have a suffix."""

SIDE = 224
"""Images are resized to SIDE × SIDE pixels."""

HEAD = 64
"""Features of an attention head."""

MEAN, STANDARD_DEVIATION = [255 * 0.485, 255 * 0.456, 255 * 0.406], [255 * 0.229, 255 * 0.224, 255 * 0.225]
"""The statistics of ImageNet's red, green and blue channels, in 0..255."""


class Layer(nn.Module):
    """A transformer layer: attention and an MLP, each normalized before, scaled after, and added to its input.

    Args:
        width: the features of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": nn.Parameter(torch.ones(width))}) for _ in range(2))

    def forward(self, x: Tokens) -> Tokens:
        """Returns the tokens after the layer."""
        x = x + self.ls1["gamma"] * self._attend(self.norm1(x))
        hidden = nn.functional.gelu(self.mlp["fc1"](self.norm2(x)))
        out: Tokens = x + self.ls2["gamma"] * self.mlp["fc2"](hidden)
        return out

    def _attend(self, x: Tokens) -> Tokens:
        q, k, v = self.attn["qkv"](x).unflatten(-1, (3, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        attended: Tokens = self.attn["proj"](scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return attended


class VisionTransformer(nn.Module):
    """DINOv2's transformer, with the names of its published weights. Its output is the class token, normalized.

    Args:
        width: the features of a token.
        depth: the number of layers.
        patch: the side of a patch in pixels.
        positions: the number of learned positions, a square number of patches and the class token.

    References:
        Oquab et al. (2023), "DINOv2: Learning Robust Visual Features without Supervision".
    """

    def __init__(self, width: int, depth: int, patch: int, positions: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.blocks = nn.ModuleList(Layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: Features) -> FeatureVectors:
        """Maps normalized images of a whole number of patches a side to features, [n, width]."""
        patches = self.patch_embed["proj"](images)
        x = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        x = x + self.positions(patches.shape[-1])
        for layer in self.blocks:
            x = layer(x)
        features: FeatureVectors = self.norm(x[:, 0])
        return features

    def positions(self, side: int) -> Tensor:
        """Returns positions for side × side patches, interpolated as in the official code: [1, 1 + side², width]."""
        of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        learned = round(of_patches.shape[1] ** 0.5)
        if learned == side:
            return self.pos_embed
        grid = of_patches.reshape(1, learned, learned, -1).permute(0, 3, 1, 2)
        scale = (side + 0.1) / learned  # the official code adds 0.1, so that rounding loses no patch
        grid = interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([of_class, grid.flatten(2).transpose(1, 2)], dim=1)


class DINOv2(Extractor):
    """DINOv2, ViT-L/14: 1024 features, those of the class token; they are its logits, too.

    Images are resized and normalized as torch-fidelity does it for its extractor dinov2-vit-l-14.

    Args:
        weights: a file of published weights of ViT-S/14, B/14 or L/14; None takes those of L/14 in torch.hub's cache,
            or downloads them (1.2 GB).

    Raises:
        UserError: the weights cannot be downloaded, or the file holds others.

    References:
        Stein et al. (2023), "Exposing flaws of generative model evaluation metrics and their unfair treatment of
        diffusion models".
    """

    name = "dinov2"

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        path = Path(weights or published(URL, "DINOv2", "extractor.weights"))
        self.network = load_transformer(path)
        self.num_features = self.network.cls_token.shape[-1]
        self.fingerprint = sha256_of(path)
        self.suffix = "" if self.fingerprint == PUBLIC_SHA256 else f"_{self.fingerprint[:8]}"

    def extract(self, images: Pixels) -> Extracted:
        if images.shape[1] not in (1, 3):
            raise UserError(
                f"images of {counted(images.shape[1], 'channel')} cannot be judged by DINOv2; it knows 3 or 1"
            )
        features = self.network(self._normalized(images.expand(-1, 3, -1, -1)))
        return Extracted(features, features)

    def _normalized(self, images: Pixels) -> Tensor:
        resized = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(SIDE, SIDE), align_corners=False)
        normalized: Tensor = normalize(resized, MEAN, STANDARD_DEVIATION)
        return normalized


@lru_cache(maxsize=1)
def load_transformer(path: Path) -> VisionTransformer:
    """Returns the transformer with the weights of a file. Raises UserError if the file does not hold them."""
    if not path.is_file():
        raise UserError(f"there is no file {path} of DINOv2's weights; extractor.weights= takes {URL}")
    try:
        return transformer_of(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        is_pickle = isinstance(error, pickle.UnpicklingError)
        reason = "it is no file of tensors" if is_pickle else shown(" ".join(str(error).split()))
        raise UserError(f"{path} does not hold weights of DINOv2 ({reason}); fetch {URL} again") from error


def transformer_of(weights: dict[str, Tensor]) -> VisionTransformer:
    """Returns a transformer of the size of these weights, with these weights, which training does not change.

    Args:
        weights: tensors by their published names. The token of masked patches is not needed.
    """
    width, _, _, patch = weights["patch_embed.proj.weight"].shape
    depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    with torch.device("meta"):
        network = VisionTransformer(width, depth, patch, weights["pos_embed"].shape[1])
    network.load_state_dict({name: w.float() for name, w in weights.items() if name != "mask_token"}, assign=True)
    return network.requires_grad_(False).eval()
