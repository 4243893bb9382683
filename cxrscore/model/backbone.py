"""A timm model by name -> feature maps (B, C, h, w), whatever it gives by itself, and whether a size fits it.

In    a name, the prepared side S, the rate of stochastic depth.
Out   a backbone without classifier and pooling. Tokens (B, N, C) lose the class token and its like and take
      their places in the grid; maps with the channels last are turned; the maps of a CNN pass untouched.
Whether a size fits is found on torch's "meta" device: layers without numbers, in a fifth of a second.
"""

import math
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from cxrscore.core.errors import UserError

SMALLEST, LARGEST = 32, 2048  # sides that prepare.size takes
STEP = 32  # what most backbones divide a side by
TRIES = 6  # sizes on either side of one that does not fit
REFUSALS = (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)  # timm's own


class _Misfit(Exception):
    """Why a backbone does not take a size; `step`: sizes that fit are multiples of it."""

    def __init__(self, reason: str, step: int = STEP) -> None:
        super().__init__(reason)
        self.step = step


def create_backbone(name: str, *, size: int, drop_path: float = 0.0) -> Any:
    """(B, 3, S, S) -> (B, C, h, w). Weights are random from torch's current generator.

    The layout is mended by a hook, so that weights keep timm's names.
    """
    settings: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    if _published(name).fixed_input_size:
        settings["img_size"] = size
    backbone = timm.create_model(name, pretrained=False, num_classes=0, global_pool="", **settings)
    last = "NHWC" in str(getattr(backbone, "output_fmt", ""))
    prefix = getattr(backbone, "num_prefix_tokens", None) or 0
    backbone.register_forward_hook(partial(_mend_layout, channels_last=last, prefix=prefix))
    return backbone


def _published(name: str) -> Any:
    """timm's facts of the model and its weights."""
    return timm.get_pretrained_cfg(name)


def _mend_layout(
    backbone: nn.Module, args: tuple[Tensor], features: Any, *, channels_last: bool, prefix: int
) -> Tensor | None:
    """(B, C, h, w) as it is, (B, h, w, C) turned, (B, prefix + h * w, C) placed in its square grid."""
    if not isinstance(features, Tensor):
        raise _Misfit(f"it gives a {type(features).__name__}")
    if features.ndim not in (3, 4):
        raise _Misfit(f"it gives {tuple(features.shape)}")
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if channels_last else None
    tokens = features[:, prefix:].transpose(1, 2)  # (B, C, h * w)
    side = math.isqrt(tokens.shape[2])
    if side * side != tokens.shape[2]:
        raise _Misfit(f"its {tokens.shape[2]} tokens are not a square")
    return tokens.reshape(*tokens.shape[:2], side, side)


def refuse_unknown(name: str) -> None:
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('.')[0][:6]}*")[:5]
        names = ", ".join(close) or "one of timm.list_models()"
        raise UserError(f"train.backbone: timm has no model {name!r}; try {names}.")
    architecture, _, tag = name.partition(".")
    tags = [model.partition(".")[2] for model in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise UserError(
            f"train.backbone: timm has no weights {tag!r} of {architecture}; name one of {', '.join(tags)}."
        )


def map_shape(name: str, *, size: int, drop_path: float = 0.0) -> tuple[int, int, int]:
    """-> (C, h, w) of the maps at this size. Raises UserError for a name, a rate or a size that does not
    fit; nothing is drawn from torch's generator.
    """
    refuse_unknown(name)
    if drop_path:
        _refuse_without_depth(name, drop_path)
    try:
        return _measure(name, size)
    except _Misfit as misfit:
        fitting = _sizes_that_fit(name, size, misfit.step)
        if not fitting:
            raise UserError(
                f"train.backbone: {name} cannot be used: a map (B, C, h, w) or a square of tokens is needed; "
                f"{misfit}."
            ) from misfit
        raise UserError(
            f"prepare.size: {size} does not fit train.backbone {name}: {misfit}; choose one that fits: "
            f"{', '.join(map(str, fitting))}."
        ) from misfit


def _refuse_without_depth(name: str, drop_path: float) -> None:
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            timm.create_model(name, pretrained=False, drop_path_rate=drop_path)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise UserError(
            f"train.drop_path: {name} has no stochastic depth; set it to 0.0, not {drop_path:g}."
        ) from error


def _measure(name: str, size: int) -> tuple[int, int, int]:
    """One forward pass of no numbers, or of zeros where a model cannot do without."""
    try:
        return _measure_on("meta", name, size)
    except REFUSALS as error:
        if "meta" not in str(error):
            raise _Misfit(f"it answers: {_first_line(error)}") from error
    try:
        return _measure_on("cpu", name, size)
    except REFUSALS as error:
        raise _Misfit(f"it answers: {_first_line(error)}") from error


def _measure_on(device: str, name: str, size: int) -> tuple[int, int, int]:
    with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
        backbone = create_backbone(name, size=size).eval()
        _refuse_a_dropped_strip(backbone, size)
        shape = tuple(backbone(torch.zeros(1, 3, size, size)).shape)
    channels = (backbone.num_features, getattr(backbone, "head_hidden_size", None))
    if shape[1] not in channels or shape[2] != shape[3]:
        raise _Misfit(f"it gives {shape} where {backbone.num_features} channels are expected")
    return shape[1], shape[2], shape[3]


def _refuse_a_dropped_strip(backbone: nn.Module, size: int) -> None:
    """A patch embedding cuts off, without a word, what is left of a side beyond its last whole patch."""
    convolutions = (module for module in backbone.modules() if type(module) is nn.Conv2d)
    for patches in (conv for conv in convolutions if conv.in_channels == 3):
        step = patches.stride[0]
        if patches.kernel_size == patches.stride and patches.padding in ((0, 0), "valid") and size % step:
            raise _Misfit(f"its patches of {step} px would leave out {size % step} px of each side", step)


def _sizes_that_fit(name: str, size: int, step: int) -> list[int]:
    """The nearest below and above `size`, or else the one its weights were made for; ascending."""
    first = size - size % step
    below = range(first if first < size else first - step, SMALLEST - 1, -step)[:TRIES]
    above = range(first + step, LARGEST + 1, step)[:TRIES]
    found = [next((side for side in sides if _fits(name, side)), None) for sides in (below, above)]
    native = _published(name).input_size[-1]
    if not any(found) and _fits(name, native):
        found = [native]
    return [side for side in found if side]


def _fits(name: str, size: int) -> bool:
    try:
        _measure(name, size)
    except _Misfit:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}".rstrip(". ")
