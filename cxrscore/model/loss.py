"""Logits and targets -> one number to minimise.

In    logits (B, L), y (B, L) in 0..1, mask (B, L) bool: masked entries count nowhere.
Out   a scalar in fp32: summed over findings, averaged over images. The paper leaves the reduction unsaid, and
      it decides how strong an L1 penalty of 1e-3 is beside it: with a mean over findings the penalty would
      weigh L times more.
Sources: asymmetric loss, Ridnik et al., ICCV 2021, arXiv:2009.14119, eq. 4-7; focal loss, Lin et al., ICCV
2017, arXiv:1708.02002, eq. 5; ZLPR, Su et al., 2022, arXiv:2208.02955.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cxrscore.core.errors import promise

TINY = torch.finfo(torch.float32).tiny  # a weight whose logarithm is finite
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


def focal_loss(logits: Tensor, y: Tensor, mask: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """(B, L) logits, targets and mask -> scalar: -y alpha (1 - p)^gamma log p - (1 - y) (1 - alpha) p^gamma
    log(1 - p). Source: arXiv:1708.02002, eq. 5.

    A soft target weighs the two terms. With gamma = 0 and alpha = 1/2 it is half of binary cross-entropy.
    """
    logits = logits.float()
    positive = alpha * y * (-logits).sigmoid() ** gamma * F.logsigmoid(logits)  # 1 - p = sigmoid(-s), exact
    negative = (1 - alpha) * (1 - y) * logits.sigmoid() ** gamma * F.logsigmoid(-logits)
    return -_sum_findings_mean_images(positive + negative, mask)


def zlpr_loss(logits: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """(B, L) logits, targets and mask -> scalar: log(1 + sum of e^-s over positives) + log(1 + sum of e^s
    over negatives), mean over images. Source: arXiv:2208.02955.

    A soft target counts in both sums, weighed by y and 1 - y, which for 0 and 1 is the published formula. The
    sums compare the findings of an image with each other and with 0, so that this is no sum over findings.
    """
    logits = logits.float().masked_fill(~mask, 0)  # the logarithm below takes these out; NaN must not pass
    y = y.float().masked_fill(~mask, 0)
    return (_log_one_plus(-logits, y * mask) + _log_one_plus(logits, (1 - y) * mask)).mean()


def _log_one_plus(exponents: Tensor, weights: Tensor) -> Tensor:
    """(B, L) -> (B,) log(1 + sum of weight times e^exponent); a weight of 0 counts nowhere, gradient
    included.
    """
    terms = (exponents + weights.clamp(min=TINY).log()).masked_fill(weights <= 0, -torch.inf)
    return torch.cat([terms, terms.new_zeros(len(terms), 1)], 1).logsumexp(1)


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
    if kind == "focal":
        return lambda logits, y, mask: focal_loss(logits, smooth(y, label_smoothing), mask, **settings)
    if kind == "zlpr":
        return lambda logits, y, mask: zlpr_loss(logits, smooth(y, label_smoothing), mask)
    promise(kind == "bce", f"no loss {kind}")
    weight = positive_weights(y, mask, most=settings["max_pos_weight"]).to(device)
    return lambda logits, y, mask: weighted_bce(logits, smooth(y, label_smoothing), mask, pos_weight=weight)
