"""Losses against slow formulas in fp64, and the facts of their gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cxrscore.loss import asymmetric_loss, build_loss, positive_weights, smooth, weighted_bce

ALL = torch.ones(3, 2, dtype=torch.bool)
LOGITS = torch.tensor([[2.0, -1.5], [0.3, -4.0], [-0.2, 6.0]])
Y = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])


def slow_asl(
    logits: torch.Tensor, y: torch.Tensor, mask: torch.Tensor, g_neg: float, g_pos: float, m: float
) -> float:
    """Equations 4-7 of arXiv:2009.14119, entry by entry in fp64."""
    total = 0.0
    for i in range(len(logits)):
        for j in range(logits.shape[1]):
            if not mask[i, j]:
                continue
            p = 1 / (1 + math.exp(-float(logits[i, j])))
            shifted = max(p - m, 0.0)
            total -= math.log(p) * (1 - p) ** g_pos if y[i, j] else math.log(1 - shifted) * shifted**g_neg
    return total / len(logits)


@pytest.mark.parametrize(
    ("g_neg", "g_pos", "clip"), [(4.0, 0.0, 0.05), (4.0, 1.0, 0.05), (2.0, 1.0, 0.0), (0.0, 0.0, 0.2)]
)
def test_asymmetric_loss_is_the_published_formula(g_neg: float, g_pos: float, clip: float) -> None:
    mask = torch.tensor([[True, True], [False, True], [True, True]])
    ours = asymmetric_loss(LOGITS, Y, mask, gamma_neg=g_neg, gamma_pos=g_pos, clip=clip)
    assert float(ours) == pytest.approx(slow_asl(LOGITS, Y, mask, g_neg, g_pos, clip), rel=1e-5)


def test_without_focusing_and_clipping_it_is_cross_entropy() -> None:
    ours = asymmetric_loss(LOGITS, Y, ALL, gamma_neg=0, gamma_pos=0, clip=0)
    assert torch.allclose(ours, F.binary_cross_entropy_with_logits(LOGITS, Y, reduction="sum") / 3)


def test_a_negative_below_the_clip_has_exactly_no_gradient() -> None:
    logits = torch.tensor([[-4.0, -1.0]], requires_grad=True)  # p = 0.018 and 0.27, clip 0.05
    asymmetric_loss(logits, torch.zeros(1, 2), ALL[:1], gamma_neg=4, gamma_pos=0, clip=0.05).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0
    assert logits.grad[0, 1] > 0


def test_half_precision_logits_at_the_extremes_stay_finite() -> None:
    logits = torch.tensor([[30.0, -30.0]], dtype=torch.float16, requires_grad=True)
    loss = asymmetric_loss(logits, torch.tensor([[0.0, 1.0]]), ALL[:1], gamma_neg=4, gamma_pos=0, clip=0.05)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["asl", "bce"])
def test_masked_entries_influence_nothing(kind: str) -> None:
    settings = (
        {"gamma_neg": 4.0, "gamma_pos": 0.0, "clip": 0.05} if kind == "asl" else {"max_pos_weight": 10.0}
    )
    y, known = Y.numpy(), ALL.numpy()
    loss = build_loss(y, known, kind=kind, label_smoothing=0.1, device=torch.device("cpu"), **settings)
    mask = torch.tensor([[True, False], [True, True], [False, True]])
    other = torch.where(mask, LOGITS, torch.tensor(float("nan")))
    assert loss(LOGITS, Y, mask) == loss(other, torch.where(mask, Y, 1 - Y), mask)


def test_weighted_bce_is_torchs_with_a_sum_over_findings() -> None:
    weight = torch.tensor([3.0, 1.5])
    theirs = F.binary_cross_entropy_with_logits(LOGITS, Y, pos_weight=weight, reduction="sum") / 3
    assert torch.allclose(weighted_bce(LOGITS, Y, ALL, pos_weight=weight), theirs)


def test_positive_weights_come_from_prevalence_and_stay_within_bounds() -> None:
    y = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0]])
    mask = np.ones_like(y, dtype=bool)
    mask[3, 2] = False
    assert positive_weights(y, mask, most=10).tolist() == [3.0, 1.0, 1.0]
    assert positive_weights(y, mask, most=2).tolist() == [2.0, 1.0, 1.0]


def test_smoothing_moves_targets_toward_one_half() -> None:
    assert smooth(torch.tensor([0.0, 1.0]), 0.2).tolist() == pytest.approx([0.1, 0.9])
