"""ADM's U-Net: its size, and equality with diffusers' implementation."""

from itertools import chain

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.adm import ADM, ScaledResBlock
from ddpm_lightning.networks.u_shape import Stage
from tests.networks.small import randomise

OPTIONS = {"channels": 32, "multipliers": (1, 2), "num_res_blocks": 2, "attention": (8,), "groups": 8}
OPTIONS |= {"head_channels": 16}


def of_diffusers(classes: int) -> UNet2DModel:
    return UNet2DModel(
        sample_size=16,
        block_out_channels=[32, 64],
        layers_per_block=2,
        down_block_types=["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
        attention_head_dim=16,
        resnet_time_scale_shift="scale_shift",
        downsample_type="resnet",
        upsample_type="resnet",
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        norm_num_groups=8,
        attn_norm_num_groups=8,
        num_class_embeds=classes + 1,
    )


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_the_papers() -> None:
    """ImageNet at 64×64, with classes and a learned Σ: 296 million (Table 4). And diffusers', of a small one."""
    with torch.device("meta"):
        assert round(count(ADM(3, 6, (64, 64), num_classes=1000)) / 1e6) == 296
        assert count(ADM(3, 3, (16, 16), num_classes=5, **OPTIONS)) == count(of_diffusers(5))  # type: ignore[arg-type]


BLOCK = {
    "norm_0": "norm1",
    "conv_0": "conv1",
    "time": "time_emb_proj",
    "norm_1": "norm2",
    "conv_1": "conv2",
    "shortcut": "conv_shortcut",
}


def copy(layer: nn.Module, *theirs: nn.Module) -> None:
    """Copies weights; those of several layers become one layer."""
    for name, weight in layer.named_parameters():
        weight.data = torch.cat([getattr(each, name).data for each in theirs]).reshape(weight.shape)


def carry_block(block: nn.Module, theirs: nn.Module) -> None:
    for name, their in BLOCK.items():
        if not isinstance(getattr(block, name), nn.Identity):
            copy(getattr(block, name), getattr(theirs, their))


def carry(theirs: UNet2DModel, ours: ADM) -> None:
    ends = {"conv_in": theirs.conv_in, "norm_out": theirs.conv_norm_out, "conv_out": theirs.conv_out}
    ends |= {"time.dense_0": theirs.time_embedding.linear_1, "time.dense_1": theirs.time_embedding.linear_2}
    for name, layer in {**ends, "time.classes": theirs.class_embedding}.items():
        copy(ours.get_submodule(name), layer)
    blocks, attentions = [], []
    for part in (*theirs.down_blocks, theirs.mid_block, *theirs.up_blocks):
        resamplers = [getattr(part, name, None) or [] for name in ("downsamplers", "upsamplers")]
        blocks += [*part.resnets, *chain(*resamplers)]
        attentions += list(getattr(part, "attentions", []))
    layers = [*ours.down, *ours.middle, *ours.up]
    for layer, block in zip(layers, blocks, strict=True):
        carry_block(layer.block if isinstance(layer, Stage) else layer, block)
    ours_attending = [layer.attention for layer in layers if isinstance(layer, Stage) and layer.attention is not None]
    for attention, their in zip(ours_attending, attentions, strict=True):
        copy(attention.norm, their.group_norm)
        copy(attention.qkv, their.to_q, their.to_k, their.to_v)
        copy(attention.project, their.to_out[0])


def test_output_is_diffusers_with_the_same_weights() -> None:
    theirs = of_diffusers(5).eval()
    randomise(theirs)
    ours = ADM(3, 3, (16, 16), num_classes=5, **OPTIONS).eval()  # type: ignore[arg-type]
    carry(theirs, ours)
    x, t, y = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 500, 999]), torch.tensor([0, 4, 2, -1])
    with torch.no_grad():
        expected = theirs(x, t, y.where(y >= 0, 5)).sample
        assert (ours(x, t, y) - expected).abs().max() / expected.abs().max() < 1e-5


@pytest.mark.parametrize("size", [(8, 8), (4, 6)])
def test_recomputed_activations_have_the_same_gradients(size: tuple[int, int]) -> None:
    networks = [ADM(1, 1, size, **OPTIONS, activation_checkpointing=again) for again in (False, True)]  # type: ignore[arg-type]
    randomise(networks[0])
    networks[1].load_state_dict(networks[0].state_dict())
    x, t = torch.randn(2, 1, *size), torch.tensor([3, 700])
    for network in networks:
        network(x, t).square().sum().backward()
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(one.grad, other.grad)  # type: ignore[arg-type]


def test_every_residual_block_is_recomputed() -> None:
    network = ADM(1, 1, (8, 8), **OPTIONS, activation_checkpointing=True)  # type: ignore[arg-type]
    blocks = [module for module in network.modules() if isinstance(module, ScaledResBlock)]
    calls = [0] * len(blocks)

    def counting(i: int) -> None:
        def hook(*_: object) -> None:
            calls[i] += 1

        blocks[i].conv_0.register_forward_hook(hook)

    for i in range(len(blocks)):
        counting(i)
    network(torch.randn(2, 1, 8, 8), torch.tensor([3, 700])).square().sum().backward()
    assert calls == [2] * len(blocks)


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(UserError, match=r"network\.head_channels=24 does not divide 32"):
        ADM(1, 1, (8, 8), **{**OPTIONS, "head_channels": 24})  # type: ignore[arg-type]
