"""Pixels -> probabilities: views and folds of one batch. Validation and scoring both come through here.

In    gray (B, 1, S, S) uint8 on the device, models in evaluation mode.
Out   probabilities, fp32: sigmoid and means are taken in fp32 and in a fixed order.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrscore.machine import Machine


def views_of(gray: Tensor, *, flip: bool) -> tuple[Tensor, ...]:
    return (gray, gray.flip(-1)) if flip else (gray,)


@torch.inference_mode()
def predict_views(model: nn.Module, gray: Tensor, *, flip: bool, machine: Machine) -> Tensor:
    """-> (V, B, L) probabilities of the image and, with `flip`, of its mirror image."""
    with machine.autocast():
        logits = [model(view).logits for view in views_of(gray, flip=flip)]
    return torch.stack([one.float().sigmoid() for one in logits])


def predict_folds(models: Sequence[nn.Module], gray: Tensor, *, flip: bool, machine: Machine) -> Tensor:
    """-> (F, B, L): each fold's mean over views."""
    return torch.stack([mean(predict_views(model, gray, flip=flip, machine=machine)) for model in models])


def mean(stack: Tensor) -> Tensor:
    """(K, B, L) -> (B, L), added one after another: the order, and so the bytes, never depends on the
    device.
    """
    total = stack[0]
    for one in stack[1:]:
        total = total + one
    return total / len(stack)


def pad(gray: Tensor, batch_size: int) -> Tensor:
    """(b, 1, S, S) -> (batch_size, 1, S, S), zeros behind: with one shape for every forward, company never
    changes a row's bytes.
    """
    return F.pad(gray, (0, 0, 0, 0, 0, 0, 0, batch_size - len(gray)))
