"""Losses against slow formulas in fp64, and the facts of their gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from cxrscore.model.loss import (
    Loss,
    asymmetric_loss,
    build_loss,
    focal_loss,
    positive_weights,
    smooth,
    weighted_bce,
    zlpr_loss,
)

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


SETTINGS: dict[str, dict[str, float]] = {
    "asl": {"gamma_neg": 4.0, "gamma_pos": 0.0, "clip": 0.05},
    "bce": {"max_pos_weight": 10.0},
    "focal": {"gamma": 2.0, "alpha": 0.25},
    "zlpr": {},
}


def loss_of(kind: str, *, label_smoothing: float = 0.0) -> Loss:
    return build_loss(
        Y.numpy(),
        ALL.numpy(),
        kind=kind,
        label_smoothing=label_smoothing,
        device=torch.device("cpu"),
        **SETTINGS[kind],
    )


@pytest.mark.parametrize("kind", SETTINGS)
def test_masked_entries_influence_nothing_and_take_no_gradient(kind: str) -> None:
    loss = loss_of(kind, label_smoothing=0.1)
    mask = torch.tensor([[True, False], [True, True], [False, True]])
    other = torch.where(mask, LOGITS, torch.tensor(float("nan")))
    assert loss(LOGITS, Y, mask) == loss(other, torch.where(mask, Y, 1 - Y), mask)
    logits = LOGITS.clone().requires_grad_()
    loss(logits, Y, mask).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, mask)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("truth", [0.0, 0.5, 1.0])
def test_extreme_logits_give_a_finite_loss_and_gradient(kind: str, truth: float) -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = loss_of(kind)(logits, torch.full((1, 2), truth), ALL[:1])
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", SETTINGS)
def test_half_precision_logits_are_computed_in_fp32(kind: str) -> None:
    half = LOGITS.half()
    assert loss_of(kind)(half, Y, ALL) == loss_of(kind)(half.float(), Y, ALL)
    assert loss_of(kind)(half, Y, ALL).dtype is torch.float32


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_gradient_points_away_from_the_mistake(kind: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss_of(kind)(logits, Y, ALL).backward()
    assert logits.grad is not None
    assert (logits.grad[Y == 1] < 0).all()
    assert (logits.grad[(Y == 0) & (LOGITS.sigmoid() > 0.05)] > 0).all()


@pytest.mark.parametrize("kind", SETTINGS)
def test_an_image_without_known_labels_costs_nothing(kind: str) -> None:
    assert loss_of(kind)(LOGITS, Y, ~ALL) == 0


def slow_focal(
    logits: torch.Tensor, y: torch.Tensor, mask: torch.Tensor, gamma: float, alpha: float
) -> float:
    """Equation 5 of arXiv:1708.02002, entry by entry in fp64."""
    total = 0.0
    for i, j in mask.nonzero().tolist():
        p = 1 / (1 + math.exp(-float(logits[i, j])))
        share = float(y[i, j])
        total -= share * alpha * (1 - p) ** gamma * math.log(p)
        total -= (1 - share) * (1 - alpha) * p**gamma * math.log(1 - p)
    return total / len(logits)


@pytest.mark.parametrize(("gamma", "alpha"), [(0.0, 0.5), (2.0, 0.25), (1.0, 0.9)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_loss_is_the_published_formula(gamma: float, alpha: float, smoothing: float) -> None:
    mask, y = torch.tensor([[True, True], [False, True], [True, True]]), smooth(Y, smoothing)
    ours = focal_loss(LOGITS, y, mask, gamma=gamma, alpha=alpha)
    assert float(ours) == pytest.approx(slow_focal(LOGITS, y, mask, gamma, alpha), rel=1e-5)


def test_focal_loss_is_torchvisions_with_a_sum_over_findings() -> None:
    theirs = sigmoid_focal_loss(LOGITS, Y, alpha=0.25, gamma=2.0, reduction="sum") / 3
    assert torch.allclose(focal_loss(LOGITS, Y, ALL, gamma=2.0, alpha=0.25), theirs)


def test_focal_loss_without_focusing_is_half_of_cross_entropy() -> None:
    ours = focal_loss(LOGITS, Y, ALL, gamma=0.0, alpha=0.5)
    assert torch.allclose(2 * ours, F.binary_cross_entropy_with_logits(LOGITS, Y, reduction="sum") / 3)


def slow_zlpr(logits: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> float:
    """The loss of arXiv:2208.02955, image by image in fp64; y and 1 - y weigh soft targets."""
    total = 0.0
    for i in range(len(logits)):
        known = [j for j in range(logits.shape[1]) if mask[i, j]]
        positive = sum(float(y[i, j]) * math.exp(-float(logits[i, j])) for j in known)
        negative = sum((1 - float(y[i, j])) * math.exp(float(logits[i, j])) for j in known)
        total += math.log(1 + positive) + math.log(1 + negative)
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_zlpr_is_the_published_formula(smoothing: float) -> None:
    mask, y = torch.tensor([[True, True], [False, True], [True, True]]), smooth(Y, smoothing)
    assert float(zlpr_loss(LOGITS, y, mask)) == pytest.approx(slow_zlpr(LOGITS, y, mask), rel=1e-5)


def test_zlpr_pulls_hardest_at_the_worst_ranked_finding() -> None:
    logits = torch.tensor([[3.0, 1.0, -2.0]], requires_grad=True)
    zlpr_loss(logits, torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)).backward()
    assert logits.grad is not None
    exps = torch.tensor([[3.0, 1.0, -2.0]]).exp()
    assert torch.allclose(logits.grad, exps / (1 + exps.sum()))  # a softmax with a threshold at 0


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
