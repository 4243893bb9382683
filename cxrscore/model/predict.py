"""Pixels -> probabilities: views and folds of one batch. Validation and scoring both come through here.

In    gray (B, 1, S, S) uint8 on the device, models in evaluation mode.
Out   probabilities, fp32: sigmoid and means are taken in fp32 and in a fixed order.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cxrscore.core.device import Machine

ZOOM = 0.9  # of a side; about the smallest crop that training sees (augment.scale, 0.84 of the area)


def zoomed(gray: Tensor) -> Tensor:
    """(B, 1, S, S) uint8 -> the same of the central part, ZOOM of each side, bilinear.

    Each product and each sum is an operation of its own, rounded alike wherever a pixel stands: the rest
    of the batch changes no bit. uint8 again, as all views: a compiled model is compiled for one type.
    """
    middle = (gray.shape[-1] - 1) / 2
    at = (torch.arange(gray.shape[-1], device=gray.device) - middle) * ZOOM + middle  # in gray's pixels
    low = at.long()
    share = at - low
    pixels = gray.float()
    for axis, weight in ((-2, share[:, None]), (-1, share)):
        near, far = pixels.index_select(axis, low), pixels.index_select(axis, low + 1)
        pixels = near * (1 - weight) + far * weight
    return pixels.round().to(torch.uint8)


VIEWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda gray: gray,
    "flip": lambda gray: gray.flip(-1),
    "zoom": zoomed,
    "zoom_flip": lambda gray: zoomed(gray).flip(-1),
}


class Parts(Protocol):
    """The two halves of a model: gray (B, 1, S, S) -> features (B, C, h, w) -> HeadOutput."""

    def features(self, gray: Tensor) -> Tensor: ...

    def head(self, features: Tensor, *, inputs: Tensor | None = None) -> Any: ...


# a model, its features (b, C, h, w) and further inputs (b, m) or None -> (b, ...), fp32
Reading = Callable[[Any, Tensor, Tensor | None], Tensor]


def probabilities(model: Parts, features: Tensor, inputs: Tensor | None) -> Tensor:
    """-> (b, L)."""
    output = model.head(features) if inputs is None else model.head(features, inputs=inputs)
    logits: Tensor = output.logits
    return logits.float().sigmoid()


@torch.inference_mode()
def predict_views(
    model: Parts,
    gray: Tensor,
    *,
    views: Sequence[str],
    machine: Machine,
    inputs: Tensor | None = None,
    reading: Reading = probabilities,
) -> Tensor:
    """-> (V, B, ...) what `reading` takes of `views`, names in VIEWS, in that order: (V, B, L) probabilities.
    `inputs` (B, m): of a head that takes further values.

    On a CPU the head and the sigmoid see one row at a time: in a batch, vector kernels treat the last
    elements differently, and a row's last bit depends on its place (31 of 480 rows at L = 15, B = 16).
    """
    rows = 1 if machine.device.type == "cpu" else len(gray)
    with machine.autocast():
        features = [model.features(VIEWS[name](gray)) for name in views]
        found = [[reading(model, *part) for part in _parts(view, inputs, rows)] for view in features]
    return torch.stack([torch.cat(view) for view in found])


def _parts(features: Tensor, inputs: Tensor | None, rows: int) -> list[tuple[Tensor, Tensor | None]]:
    """By so many rows at a time."""
    parts = torch.split(features, rows)
    values = [None] * len(parts) if inputs is None else torch.split(inputs, rows)
    return list(zip(parts, values, strict=True))


def predict_folds(
    models: Sequence[Parts],
    gray: Tensor,
    *,
    views: Sequence[str],
    machine: Machine,
    inputs: Tensor | None = None,
    reading: Reading = probabilities,
) -> Tensor:
    """-> (F, B, ...): each fold's mean over views of what `reading` takes, by default probabilities. `inputs`
    (F, B, m): each fold has an encoding of its own.
    """
    own = [None] * len(models) if inputs is None else list(inputs)
    how: dict[str, Any] = {"views": views, "machine": machine, "reading": reading}
    found = [
        mean(predict_views(model, gray, inputs=values, **how))
        for model, values in zip(models, own, strict=True)
    ]
    return torch.stack(found)


def mean(stack: Tensor) -> Tensor:
    """(K, B, ...) -> (B, ...), added one after another: the order, and so the bytes, never depends on the
    device.
    """
    total = stack[0]
    for one in stack[1:]:
        total = total + one
    return total / len(stack)


def pad(gray: Tensor, batch_size: int) -> Tensor:
    """(b, 1, S, S) -> (batch_size, 1, S, S), zeros behind: with one shape for every forward, the other
    rows of a batch never change a row's bytes.
    """
    return F.pad(gray, (0, 0, 0, 0, 0, 0, 0, batch_size - len(gray)))


def pad_inputs(inputs: Tensor, batch_size: int) -> Tensor:
    """(..., b, m) -> (..., batch_size, m), unknown values behind."""
    return F.pad(inputs, (0, 0, 0, batch_size - inputs.shape[-2]), value=torch.nan)
