"""The points of curves are scikit-learn's, few enough for a plot, and their shape stays."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_auc_score

from cxrscore.statistics.curves import PIECES, pr_rows, roc_rows, thinned
from cxrscore.statistics.roc_area import roc_auc

FINDINGS = ["Edema", "Fracture"]


def scored(n: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, mask and scores (n, 2): Edema told well, Fracture by chance; some labels masked."""
    rng = np.random.default_rng(0)
    y = (rng.random((n, 2)) < 0.3).astype(np.int8)
    scores = (rng.random((n, 2)) + y * [0.6, 0.0]).astype(np.float32) / 2
    return y, rng.random((n, 2)) < 0.9, np.round(scores, 1) if ties else scores


def points(rows: list[tuple[str, str, str]], finding: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.array([(float(x), float(y)) for name, x, y in rows if name == finding]).T
    return x, y


@pytest.mark.parametrize(("n", "tolerance"), [(12, 1e-5), (60, 1e-5), (5000, 5e-4)])
@pytest.mark.parametrize("ties", [False, True])
def test_the_area_under_the_points_is_the_exact_one(n: int, tolerance: float, ties: bool) -> None:
    """1e-5 is the rounding of points; where most are left out 5e-4 is seen, and 5e-3 is the bound."""
    y, mask, scores = scored(n, ties=ties)
    rows = list(roc_rows(FINDINGS, y, mask, scores))
    for column, finding in enumerate(FINDINGS):
        known = mask[:, column]
        exact = roc_auc(y[known, column], scores[known, column])
        assert exact == pytest.approx(roc_auc_score(y[known, column], scores[known, column]), abs=1e-12)
        fpr, tpr = points(rows, finding)
        assert np.trapezoid(tpr, fpr) == pytest.approx(exact, abs=tolerance)


def test_a_curve_goes_from_end_to_end_in_few_points() -> None:
    y, mask, scores = scored(5000)
    rows = list(roc_rows(FINDINGS, y, mask, scores))
    for finding in FINDINGS:
        fpr, tpr = points(rows, finding)
        assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
        assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()
        assert 50 < len(fpr) <= 2 * PIECES


def test_precision_at_each_recall_is_near_the_whole_curves() -> None:
    y, mask, scores = scored(5000)
    recall, precision = points(list(pr_rows(FINDINGS, y, mask, scores)), "Edema")
    known = mask[:, 0]
    theirs, at, _ = precision_recall_curve(y[known, 0], scores[known, 0])
    assert (recall[0], precision[0], recall[-1]) == (0, 1, 1)
    assert len(recall) <= 2 * PIECES
    expected = np.interp([0.1, 0.3, 0.5, 0.7, 0.9], at[::-1], theirs[::-1])
    found = np.interp([0.1, 0.3, 0.5, 0.7, 0.9], recall, precision)
    assert np.abs(found - expected).max() < 0.01


def test_what_is_left_out_lies_near_what_is_kept() -> None:
    """A curve of a hundred thousand steps with one jump: both sides of the jump stay."""
    steps = np.linspace(0, 1, 100_001)
    x, y = steps, np.where(steps < 0.5, steps**3, 0.5 + steps / 2)
    thin_x, thin_y = thinned(x, y)
    assert len(thin_x) <= 2 * PIECES
    assert np.abs(np.interp(x, thin_x, thin_y) - y).max() < 0.02


def test_a_masked_label_is_on_no_curve() -> None:
    y = np.array([[1], [0], [1], [0]], dtype=np.int8)
    scores = np.array([[0.9], [0.1], [0.0], [1.0]], dtype=np.float32)
    mask = np.array([[True], [True], [False], [False]])
    assert next(roc_rows(["Edema"], y, mask, scores)) == ("Edema", "0.00000", "0.00000")
    fpr, tpr = points(list(roc_rows(["Edema"], y, mask, scores)), "Edema")
    assert np.trapezoid(tpr, fpr) == 1


def test_a_finding_of_one_class_has_no_curve() -> None:
    y = np.array([[1, 0], [0, 0], [1, 0]], dtype=np.int8)
    scores = np.array([[0.9, 0.5], [0.1, 0.6], [0.3, 0.7]], dtype=np.float32)
    for rows in (roc_rows, pr_rows):
        assert {name for name, _, _ in rows(FINDINGS, y, np.ones_like(y, dtype=bool), scores)} == {"Edema"}
