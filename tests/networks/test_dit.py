"""The diffusion transformer: its size, its start, and equality with diffusers' implementation."""

import pytest
import torch
from diffusers import DiTTransformer2DModel
from torch import nn

from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.dit import DiT, positions_of
from tests.networks.small import randomise


def of_diffusers(width: int, depth: int, heads: int, classes: int, side: int = 32) -> DiTTransformer2DModel:
    options = {"attention_head_dim": width // heads, "num_attention_heads": heads, "num_layers": depth}
    shape = {"in_channels": 4, "out_channels": 8, "sample_size": side, "patch_size": 2}
    return DiTTransformer2DModel(**options, **shape, num_embeds_ada_norm=classes, norm_eps=1e-6)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("width", "depth", "heads", "millions"),
    [(384, 12, 6, 33), (768, 12, 12, 130), (1024, 24, 16, 458), (1152, 28, 16, 675)],
)
def test_parameter_counts_are_the_papers(width: int, depth: int, heads: int, millions: int) -> None:
    """Table 1; and diffusers', in which each block has an embedding of its own."""
    with torch.device("meta"):
        ours = DiT(4, 8, (32, 32), width=width, depth=depth, heads=heads, num_classes=1000)
        theirs = of_diffusers(width, depth, heads, 1000)
    assert round(count(ours) / 1e6) == millions
    assert count(ours) == count(theirs) - (depth - 1) * count(ours.time)


def carry(theirs: DiTTransformer2DModel, ours: DiT) -> None:
    """Copies weights. Theirs has cos before sin, and the channels of a patch of the output after its pixels."""
    embedding = theirs.transformer_blocks[0].norm1.emb
    for block in theirs.transformer_blocks:
        block.norm1.emb = embedding
    linear = embedding.timestep_embedder.linear_1
    ours.time.dense_0.weight.data = linear.weight.data.roll(128, dims=1)
    ours.time.dense_0.bias.data = linear.bias.data
    ours.time.dense_1.load_state_dict(embedding.timestep_embedder.linear_2.state_dict())
    ours.time.classes.load_state_dict(embedding.class_embedder.embedding_table.state_dict())
    ours.patches.weight.data = theirs.pos_embed.proj.weight.data.flatten(1)
    ours.patches.bias.data = theirs.pos_embed.proj.bias.data
    for block, their in zip(ours.blocks, theirs.transformer_blocks, strict=True):
        attention = their.attn1
        for name in ("weight", "bias"):
            qkv = [getattr(layer, name).data for layer in (attention.to_q, attention.to_k, attention.to_v)]
            getattr(block.qkv, name).data = torch.cat(qkv)
        block.project.load_state_dict(attention.to_out[0].state_dict())
        block.dense_0.load_state_dict(their.ff.net[0].proj.state_dict())
        block.dense_1.load_state_dict(their.ff.net[2].state_dict())
        block.modulation.load_state_dict(their.norm1.linear.state_dict())
    ours.modulation.load_state_dict(theirs.proj_out_1.state_dict())
    for name in ("weight", "bias"):
        pixels = getattr(theirs.proj_out_2, name).data.unflatten(0, (2, 2, -1))
        getattr(ours.dense_out, name).data = pixels.movedim(2, 0).flatten(0, 2)


def test_output_is_diffusers_with_the_same_weights() -> None:
    """With classes, and without one, which is the last row of the table."""
    theirs = of_diffusers(width=48, depth=3, heads=4, classes=5, side=16).eval()
    randomise(theirs)
    ours = DiT(4, 8, (16, 16), width=48, depth=3, heads=4, num_classes=5)
    carry(theirs, ours)
    x, t, y = torch.randn(4, 4, 16, 16), torch.tensor([0, 1, 500, 999]), torch.tensor([0, 4, 2, -1])
    with torch.no_grad():
        expected = theirs(x, t, y.where(y >= 0, 5)).sample
        assert (ours(x, t, y) - expected).abs().max() / expected.abs().max() < 1e-5
        assert torch.equal(ours(x, t)[3], ours(x, t, y)[3])


def test_a_fresh_network_says_nothing_and_each_block_is_the_identity() -> None:
    network = DiT(1, 1, (4, 8), width=8, depth=1, heads=2)
    assert network(torch.randn(2, 1, 4, 8), torch.tensor([0, 999])).abs().max() == 0
    tokens = torch.randn(2, 8, 8)
    assert torch.equal(network.blocks[0](tokens, torch.randn(2, 8)), tokens)


def test_patches_know_their_place_and_give_back_their_pixels() -> None:
    """With an identity for each layer, the output is the input, whatever the shape of the image."""
    network = DiT(1, 1, (4, 6), width=4, depth=1, heads=1)
    for layer in (network.patches, network.dense_out):
        nn.init.eye_(layer.weight)
    network.norm_out = nn.Identity()  # type: ignore[assignment]
    network.positions.zero_()
    x = torch.randn(2, 1, 4, 6)
    torch.testing.assert_close(network(x, torch.tensor([1, 2])), x)
    places = positions_of(2, 3, 8)
    assert len(places.unique(dim=0)) == 6
    assert torch.equal(places[0, :4], places[3, :4])  # the column
    assert torch.equal(places[3, 4:], places[5, 4:])  # the row


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch_size": 3}, "do not divide into patches of network.patch_size=3"),
        ({"width": 10}, "network.width=10 does not divide by 4"),
        ({"heads": 3}, "by network.heads=3"),
        ({"depth": 0}, "network.depth=0"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DiT(1, 1, (8, 8), **{"width": 32, "heads": 4, **options})
