"""DINOv2 and CLIP: weights of the published formats, drawn at random, against foreign code; and wrong files."""

import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch_fidelity.feature_extractor_clip import CLIPVisual, FeatureExtractorCLIP
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionTransformer

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.clip import CLIP
from ddpm_lightning.metrics.dinov2 import SIDE, DINOv2, VisionTransformer, transformer_of
from ddpm_lightning.metrics.extractor import sha256_of
from tests.commands import command, results, slow

WIDTH, DEPTH, PATCH = 128, 2, 14


def random_dinov2(positions: int = 1 + 37 * 37) -> dict[str, Tensor]:
    """Weights as in dinov2_vit*14_pretrain.pth, with the positions of 518 × 518 pixels, but narrow and shallow."""
    torch.manual_seed(0)
    network = VisionTransformer(WIDTH, DEPTH, PATCH, positions)
    weights = {name: w + 0.3 * torch.randn_like(w) for name, w in network.state_dict().items()}
    return {**weights, "mask_token": torch.zeros(1, WIDTH)}


def torchvisions(weights: dict[str, Tensor], size: int) -> TorchvisionTransformer:
    """torchvision's transformer with these weights: it has no scale after a branch, so that goes into the branch."""
    theirs = TorchvisionTransformer(size, PATCH, DEPTH, WIDTH // 64, WIDTH, 4 * WIDTH)
    theirs.heads = nn.Identity()
    carried = {
        "class_token": weights["cls_token"],
        "encoder.pos_embedding": weights["pos_embed"],
        **{f"conv_proj.{name}": weights[f"patch_embed.proj.{name}"] for name in ("weight", "bias")},
        **{f"encoder.ln.{name}": weights[f"norm.{name}"] for name in ("weight", "bias")},
    }
    for i in range(DEPTH):
        ours, layer = f"blocks.{i}", f"encoder.layers.encoder_layer_{i}"
        for name in ("weight", "bias"):
            scales = [weights[f"{ours}.ls{k}.gamma"] for k in (1, 2)]
            scales = [scale[:, None] if name == "weight" else scale for scale in scales]
            carried |= {
                f"{layer}.ln_1.{name}": weights[f"{ours}.norm1.{name}"],
                f"{layer}.ln_2.{name}": weights[f"{ours}.norm2.{name}"],
                f"{layer}.self_attention.in_proj_{name}": weights[f"{ours}.attn.qkv.{name}"],
                f"{layer}.self_attention.out_proj.{name}": scales[0] * weights[f"{ours}.attn.proj.{name}"],
                f"{layer}.mlp.0.{name}": weights[f"{ours}.mlp.fc1.{name}"],
                f"{layer}.mlp.3.{name}": scales[1] * weights[f"{ours}.mlp.fc2.{name}"],
            }
    theirs.load_state_dict(carried)
    return theirs.eval()


def test_the_transformer_equals_torchvisions() -> None:
    weights = random_dinov2(positions=1 + 4 * 4)
    images = torch.randn(3, 3, 4 * PATCH, 4 * PATCH)
    with torch.no_grad():
        theirs = torchvisions(weights, 4 * PATCH)(images)
        assert torch.allclose(transformer_of(weights)(images), theirs, rtol=1e-4, atol=1e-4)
    assert float(theirs.std()) > 0.1


def test_the_published_transformer_has_as_many_weights() -> None:
    """That of dinov2_vitl14_pretrain.pth: 304,368,640, of which 1024 are the token of masked patches."""
    with torch.device("meta"):
        network = VisionTransformer(1024, 24, 14, 1 + 37 * 37)
    assert sum(w.numel() for w in network.parameters()) == 304_368_640 - 1024


def cubic(old: int, new: int, scale: float) -> Tensor:
    """Cubic convolution (Keys, 1981; a = −¾, as in PyTorch) as a matrix: place i lies at (i + ½)/scale − ½."""
    matrix, a = torch.zeros(new, old), -0.75
    for i in range(new):
        place = (i + 0.5) / scale - 0.5
        for k in range(int(place) - 1, int(place) + 3):
            x = abs(place - k)
            near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
            matrix[i, min(max(k, 0), old - 1)] += near if x <= 1 else far
    return matrix


def test_positions_are_interpolated_as_in_the_official_code() -> None:
    """From 37 × 37 patches to 16 × 16, with the scale (16 + 0.1)/37."""
    network = transformer_of(random_dinov2())
    matrix = cubic(37, 16, 16.1 / 37)
    grid = network.pos_embed[0, 1:].unflatten(0, (37, 37))
    expected = torch.einsum("ia,jb,abc->ijc", matrix, matrix, grid)
    assert torch.allclose(network.positions(16)[0, 1:].unflatten(0, (16, 16)), expected, atol=1e-4)


@pytest.fixture(scope="module")
def dinov2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "dinov2_vitl14_pretrain.pth"
    torch.save(random_dinov2(), path)
    return path


def test_images_are_prepared_as_by_torch_fidelity(dinov2_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch-fidelity takes its transformer from torch.hub, which runs code of GitHub: here it gets ours."""
    ours = DINOv2(str(dinov2_file))
    monkeypatch.setattr(torch.hub, "load", lambda *args, **kwargs: ours.network)
    theirs = FeatureExtractorDinoV2("dinov2-vit-l-14", ["dinov2"])
    for side in (16, SIDE, 300):
        images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
        assert torch.equal(ours(images), theirs(images)[0])
    grey = images[:, :1]
    assert torch.equal(ours(grey), ours(grey.expand(-1, 3, -1, -1)))
    assert (ours.num_features, ours.suffix) == (WIDTH, f"_{sha256_of(dinov2_file)[:8]}")


class Archive(nn.Module):
    """What OpenAI's files of CLIP hold, without the text encoder's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = CLIPVisual(32, 32, 2, 64, 16).half().visual
        self.text_projection = nn.Parameter(torch.zeros(64, 32).half())
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.visual(images)


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "ViT-B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and OpenAI's files are of it
        torch.jit.save(torch.jit.trace(Archive().eval(), torch.zeros(1, 3, 32, 32).half()), str(path))
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*:FutureWarning")  # in torch-fidelity's own call
def test_clip_is_torch_fidelitys(clip_file: Path) -> None:
    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    ours, theirs = CLIP(str(clip_file)), FeatureExtractorCLIP("clip-vit-b-32", ["clip"], str(clip_file))
    assert torch.equal(ours(images), theirs(images)[0])
    assert ours.num_features == 32
    assert float(ours(images).std(0).min()) > 0


@pytest.mark.parametrize("extractor", [*slow("dinov2"), "clip"])
def test_the_command_names_the_extractor(extractor: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(f"{extractor}_file")
    pixels = torch.randint(0, 256, (40, 8, 8, 1), dtype=torch.uint8).numpy()
    sets = []
    for option, images in (("images", pixels[:35]), ("reference", pixels[35:])):
        (tmp_path / option).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(tmp_path / option / f"{i}.png")
        sets.append(f"{option}={tmp_path / option}")
    options = [f"extractor={extractor}", f"extractor.weights={path}", "metrics=[prdc]", "metrics.prdc.score.k=3"]
    command("evaluate", *sets, *options, f"hydra.run.dir={tmp_path / 'out'}")
    found = results(tmp_path / "out")["metrics"]
    name = f"density_{extractor}_35_given_{sha256_of(path)[:8]}_images"
    assert found[name]["extractor_sha256"] == sha256_of(path)


@pytest.mark.parametrize("extractor", [DINOv2, CLIP])
def test_wrong_weights_are_named(extractor: type[DINOv2 | CLIP], tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save({"code": Path("x")}, tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    for name in ("other.pth", "code.pth", "text.pth"):
        with pytest.raises(UserError, match=rf"{name} does not hold weights of {extractor.__name__}"):
            extractor(str(tmp_path / name))
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.pth .*extractor\.weights= takes https"):
        extractor(str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("extractor", [DINOv2, CLIP])
def test_without_network_the_option_is_named(
    extractor: type[DINOv2 | CLIP], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(UserError, match=r"no route to host.*fetch https.*put it at .* or name it with extractor\.wei"):
        extractor()
