"""A trained backbone -> the same function in fewer and wider steps, for inference alone.

In    a backbone in evaluation mode, fp32 weights.
Out   a copy: batch norms folded into the convolutions before them, pooling by a kernel that is fast in half
      precision, grouped convolutions merged into wider block-diagonal groups where the caller says so.
Sources: folding, Jacob et al., arXiv:1712.05877, section 3.2; merging multiplies by zeros, so it is exact.
"""

import copy
from collections.abc import Iterator, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.squeeze_excite import SEModule
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cxrscore.core.errors import BrokenPromise, promise


def fold_batchnorms(backbone: nn.Module) -> tuple[nn.Module, int]:
    """-> a copy without the batch norms that directly follow a convolution, and how many those were.

    A backbone that torch.fx cannot trace (its path depends on its data) comes back as it is, with 0.
    """
    backbone = copy.deepcopy(backbone)
    pairs = list(_pairs(backbone))
    for conv_name, norm_name in pairs:
        conv, norm = backbone.get_submodule(conv_name), backbone.get_submodule(norm_name)
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise BrokenPromise("what was found to fold is no convolution with its batch norm")
        _replace(backbone, conv_name, fuse_conv_bn_eval(conv, norm))
        after = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        _replace(backbone, norm_name, after)
    return backbone, len(pairs)


class _Tracer(fx.Tracer):
    """timm's norm-and-activation layers are one step each, as torch's own are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, BatchNormAct2d) or super().is_leaf_module(m, module_qualified_name)


def _pairs(backbone: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of each convolution and of the batch norm that alone reads its output, both called once."""
    try:
        nodes = list(_Tracer().trace(backbone).nodes)
    except (TypeError, ValueError, RuntimeError, fx.proxy.TraceError):
        return
    modules = dict(backbone.named_modules())
    calls = [node.target for node in nodes if node.op == "call_module"]
    for node in nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        if before.op != "call_module" or type(modules[before.target]) is not nn.Conv2d:
            continue
        if len(before.users) == 1 and calls.count(before.target) == calls.count(node.target) == 1:
            yield before.target, node.target


def pool_quickly(backbone: nn.Module) -> int:
    """Squeeze-and-excitation gates pool by `avg_pool2d`, in place; -> how many.

    On a CPU in bf16 `mean` first makes an fp32 copy of the whole map: 2.7 ms per image at 256 x 95 x 95
    where avg_pool2d takes 0.08, a sixth of the forward of seresnext101_32x4d (2 cores, torch 2.15).
    """
    gates = [
        (name, module)
        for name, module in backbone.named_modules()
        if type(module) is SEModule and not module.add_maxpool
    ]
    for name, gate in gates:
        _replace(backbone, name, _Gate(gate))
    return len(gates)


class _Gate(nn.Module):
    """timm's SEModule with another pooling kernel."""

    def __init__(self, gate: SEModule) -> None:
        super().__init__()
        self.layers = nn.Sequential(gate.fc1, gate.bn, gate.act, gate.fc2, gate.gate)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.layers(F.avg_pool2d(x, x.shape[-2:]))
        return x * scale


def grouped_convolutions(backbone: nn.Module) -> dict[str, nn.Conv2d]:
    """Name -> convolution, for those of several groups with more than one channel each (depthwise ones have
    kernels of their own).
    """
    return {
        name: module
        for name, module in backbone.named_modules()
        if type(module) is nn.Conv2d and module.groups > 1 and module.in_channels > module.groups
    }


def merge_groups(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """A convolution with `groups / factor` groups, `factor` old ones on the diagonal of each; exact."""
    promise(conv.groups % factor == 0, f"{conv.groups} groups do not merge by {factor}")
    out_each, in_each = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    weight = conv.weight.new_zeros(conv.out_channels, in_each * factor, *conv.kernel_size)
    for group in range(conv.groups):
        rows = slice(group * out_each, (group + 1) * out_each)
        at = group % factor * in_each
        weight[rows, at : at + in_each] = conv.weight[rows]
    merged = copy.deepcopy(conv)
    merged.groups //= factor
    merged.weight = nn.Parameter(weight, requires_grad=False)
    return merged


def merge_all(backbone: nn.Module, factors: Mapping[str, int]) -> None:
    """Merge, in place, the convolutions named in `factors`."""
    convolutions = grouped_convolutions(backbone)
    for name, factor in factors.items():
        _replace(backbone, name, merge_groups(convolutions[name], factor))


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, module)


def shapes_seen(backbone: nn.Module, names: Mapping[str, nn.Module], pixels: Tensor) -> dict[str, torch.Size]:
    """The shape (C, H, W) that each named module is given when `pixels` pass through."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[name] = inputs[0].shape[1:]

    hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in names.items()]
    try:
        backbone(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes
