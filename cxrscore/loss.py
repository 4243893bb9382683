"""Logits and targets -> one number to minimise.

In    logits (B, L), y (B, L) in 0..1, mask (B, L) bool: masked entries count nowhere.
Out   a scalar in fp32: summed over findings, averaged over images. The paper leaves the reduction unsaid, and
      it decides how strong an L1 penalty of 1e-3 is beside it: with a mean over findings the penalty would
      weigh L times more.
Source: asymmetric loss, Ridnik et al., ICCV 2021, arXiv:2009.14119, eq. 4-7.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def asymmetric_loss(
    logits: Tensor, y: Tensor, mask: Tensor, *, gamma_neg: float, gamma_pos: float, clip: float
) -> Tensor:
    """(B, L) logits, targets and mask -> scalar. Negatives with p <= clip have exactly zero gradient. Source:
    eq. 4-7.

    With gamma_neg = gamma_pos = clip = 0 it is binary cross-entropy.
    """
    logits = logits.float()  # 1 - sigmoid(x) rounds to 0 in half precision
    p = logits.sigmoid()
    p_shifted = (p - clip).clamp(min=0)
    positive = y * (1 - p) ** gamma_pos * F.logsigmoid(logits)
    log_rest = (
        F.logsigmoid(-logits) if clip == 0 else torch.log1p(-p_shifted)
    )  # p - clip < 1: the log is finite
    negative = (1 - y) * p_shifted**gamma_neg * log_rest
    return -_sum_findings_mean_images(positive + negative, mask)


def weighted_bce(logits: Tensor, y: Tensor, mask: Tensor, *, pos_weight: Tensor) -> Tensor:
    """(B, L) logits, targets and mask, (L,) weights of the positives -> scalar."""
    entries = F.binary_cross_entropy_with_logits(logits.float(), y, pos_weight=pos_weight, reduction="none")
    return _sum_findings_mean_images(entries, mask)


def _sum_findings_mean_images(entries: Tensor, mask: Tensor) -> Tensor:
    return entries.masked_fill(~mask, 0).sum() / len(entries)


def smooth(y: Tensor, amount: float) -> Tensor:
    """Targets moved toward 1/2: 0 -> amount / 2, 1 -> 1 - amount / 2."""
    return y * (1 - amount) + amount / 2


def positive_weights(y: np.ndarray, mask: np.ndarray, *, most: float) -> Tensor:
    """(n, L) training targets and mask -> (L,) negatives per positive, kept within [1, most]; 1 where none
    is positive.
    """
    positives = ((y == 1) & mask).sum(0)
    negatives = ((y == 0) & mask).sum(0)
    weights = np.where(positives > 0, negatives / np.maximum(positives, 1), 1.0)
    return torch.tensor(weights.clip(1, most), dtype=torch.float32)


def build_loss(
    y: np.ndarray,
    mask: np.ndarray,
    *,
    kind: str,
    label_smoothing: float,
    device: torch.device,
    **settings: Any,
) -> Loss:
    """The loss by its name in params.yaml, as a function of (logits, y, mask).

    y and mask (n, L) are the training rows': weighted BCE takes its weights from them.
    """
    if kind == "asl":
        return lambda logits, y, mask: asymmetric_loss(logits, smooth(y, label_smoothing), mask, **settings)
    assert kind == "bce", kind
    weight = positive_weights(y, mask, most=settings["max_pos_weight"]).to(device)
    return lambda logits, y, mask: weighted_bce(logits, smooth(y, label_smoothing), mask, pos_weight=weight)
