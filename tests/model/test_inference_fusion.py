"""A fused backbone computes what the plain one does, for every shape of network it is likely to meet."""

import copy

import pytest
import timm
import torch
from torch import nn

from cxrscore.model.inference_fusion import (
    fold_batchnorms,
    grouped_convolutions,
    merge_all,
    merge_groups,
    pool_quickly,
    shapes_seen,
)

# name -> batch norms that a convolution alone feeds, all of them but for densenet (norms before convolutions)
FOLDED = {
    "test_resnet": 15,
    "seresnet18": 20,
    "efficientnet_b0": 49,
    "regnety_002": 44,
    "densenet121": 59,
    "convnext_atto": 0,
}


def lively(name: str) -> nn.Module:
    """A backbone in evaluation mode whose batch norms do something."""
    torch.manual_seed(0)
    backbone = timm.create_model(name, pretrained=False, num_classes=0, global_pool="").eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
    return backbone.requires_grad_(False)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FOLDED)
def test_a_folded_backbone_gives_the_same_features(name: str, pixels: torch.Tensor) -> None:
    plain = lively(name)
    before = copy.deepcopy(plain.state_dict())
    folded, count = fold_batchnorms(plain)
    expected = plain(pixels)
    assert count == FOLDED[name]
    assert torch.allclose(folded(pixels), expected, atol=1e-5 * float(expected.abs().max()))
    assert all(torch.equal(before[key], value) for key, value in plain.state_dict().items())


class Forked(nn.Module):
    """A convolution whose output two layers read, and one that is called twice: neither may be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.forked, self.twice = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.forked(x)
        x = self.norm(x) + x
        return self.other(self.twice(self.twice(x)))


class Branching(nn.Module):
    """Its path depends on its data, which torch.fx cannot trace."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("module", [Forked(), Branching()], ids=["forked", "branching"])
def test_what_cannot_be_folded_safely_stays_as_it_is(module: nn.Module, pixels: torch.Tensor) -> None:
    folded, count = fold_batchnorms(module.eval())
    assert count == 0
    assert torch.equal(folded(pixels), module(pixels))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_quicker_pooling_pools_the_same(dtype: torch.dtype, pixels: torch.Tensor) -> None:
    plain = lively("seresnet18").to(dtype)
    quick = copy.deepcopy(plain)
    assert pool_quickly(quick) == 8
    expected = plain(pixels.to(dtype))
    assert torch.allclose(
        quick(pixels.to(dtype)), expected, rtol=0.02, atol=0.02 * float(expected.abs().max())
    )


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_merged_groups_are_the_same_convolution(factor: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 64, 3, stride, padding=1, groups=8).requires_grad_(False)
    merged = merge_groups(conv, factor)
    x = torch.randn(2, 32, 9, 9)
    assert merged.groups == 8 // factor
    assert torch.allclose(merged(x), conv(x), atol=1e-6)
    assert conv.groups == 8


def test_a_whole_backbone_with_merged_groups_gives_the_same_features(pixels: torch.Tensor) -> None:
    plain = lively("resnext26ts")
    merged, _ = fold_batchnorms(plain)
    names = grouped_convolutions(merged)
    assert names
    merge_all(merged, dict.fromkeys(names, 2))
    expected = plain(pixels)
    assert torch.allclose(merged(pixels), expected, atol=1e-5 * float(expected.abs().max()))


def test_depthwise_convolutions_are_left_to_their_own_kernels() -> None:
    assert grouped_convolutions(lively("efficientnet_b0")) == {}


def test_the_shapes_seen_are_those_that_each_layer_is_given(pixels: torch.Tensor) -> None:
    backbone = lively("resnext26ts")
    convolutions = grouped_convolutions(backbone)
    shapes = shapes_seen(backbone, convolutions, pixels)
    assert set(shapes) == set(convolutions)
    assert all(shapes[name][0] == conv.in_channels for name, conv in convolutions.items())
    assert not any(module._forward_pre_hooks for module in backbone.modules())
