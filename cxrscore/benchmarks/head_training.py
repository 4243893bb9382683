"""What a label head adds to a training step: time, and memory for its gradients.

In    heads as benchmarks/heads.py builds them, maps (B, C, h, w), their findings.
Out   the same heads made trainable; seconds of a step in turn; bytes that a step holds for a head.

A step is the forward pass, the loss on all logits and the backward pass, the gradient of the maps included,
in fp32 and all images at once; the optimizer's own work is left out, but not its memory.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from cxrscore.benchmarks.paired_timing import in_turn
from cxrscore.core.progress import Progress
from cxrscore.model.heads.base import Head
from cxrscore.model.network import parameter_count

BYTES_PER_PARAMETER = 16  # itself, its gradient and AdamW's two moments, in fp32


def step_seconds(
    heads: Mapping[str, Head], features: Tensor, *, findings: int, rounds: int, progress: Progress
) -> dict[str, list[float]]:
    """Of each head, `rounds` times in turn."""
    works = {name: partial(_step, head, features, findings) for name, head in _trainable(heads).items()}
    progress.start("a training step of the heads, in turn", len(works) * (rounds + 1))
    return in_turn(works, device=features.device, rounds=rounds, progress=progress)


def step_bytes(heads: Mapping[str, Head], features: Tensor, *, findings: int) -> dict[str, int]:
    """Of each head: what autograd keeps from the forward pass for the backward pass, without the maps, and
    BYTES_PER_PARAMETER.
    """
    return {
        name: _kept(head, features, findings) + BYTES_PER_PARAMETER * parameter_count(head)
        for name, head in _trainable(heads).items()
    }


def _trainable(heads: Mapping[str, Head]) -> dict[str, Head]:
    return {name: head.train().requires_grad_(True) for name, head in heads.items()}


def _loss(head: Head, features: Tensor, findings: int) -> Tensor:
    y = torch.zeros(len(features), findings, device=features.device)
    output = head(features, y, torch.ones_like(y, dtype=torch.bool))
    every = [output.logits, *output.auxiliary.values()]
    losses = [F.binary_cross_entropy_with_logits(logits.float(), y) for logits in every]
    return sum([*losses[1:], *output.losses.values()], start=losses[0])


def _step(head: Head, features: Tensor, findings: int) -> None:
    _loss(head, features.detach().requires_grad_(), findings).backward()  # type: ignore[no-untyped-call]
    head.zero_grad(set_to_none=True)


def _kept(head: Head, features: Tensor, findings: int) -> int:
    """Bytes of all storages that the forward pass has saved, each once, but for parameters and the maps."""
    maps = features.detach().requires_grad_()
    known = {tensor.untyped_storage().data_ptr() for tensor in (maps, *head.parameters())}
    saved: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage  # held, so that no address comes twice
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _loss(head, maps, findings)
    del loss
    return sum(storage.nbytes() for storage in saved.values())
