"""Statistics against scikit-learn and slow definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrscore.core.errors import BrokenPromise
from cxrscore.statistics.average_precision import average_precision_of_all
from cxrscore.statistics.group_means import group_means
from cxrscore.statistics.roc_area import _bits, _from_bits, _from_ranks, auc_by_finding, macro, roc_auc


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
def test_roc_auc_is_scikit_learns_ties_included(pairs: list[tuple[bool, int]]) -> None:
    y, scores = np.array([p[0] for p in pairs], dtype=int), np.array([p[1] for p in pairs], dtype=float)
    if y.min() == y.max():
        assert math.isnan(roc_auc(y, scores))
    else:
        assert roc_auc(y, scores) == pytest.approx(roc_auc_score(y, scores), abs=1e-12)


def test_masked_entries_count_nowhere() -> None:
    y = np.array([[1, 1], [0, 0], [0, 1]])
    mask = np.array([[True, True], [True, False], [False, True]])
    scores = np.array([[0.9, 0.1], [0.2, 0.1], [1.0, 0.1]])
    areas = auc_by_finding(y, mask, scores)
    assert areas[0] == 1.0
    assert math.isnan(areas[1])


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_of_all_is_scikit_learns_micro_average_ties_included(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, scores = (rng.random((40, 5)) < 0.3).astype(np.int8), rng.integers(0, 30, (40, 5)) / 30
    known, mask = np.ones(y.shape, dtype=bool), rng.random(y.shape) < 0.7
    micro = average_precision_score(y, scores, average="micro")
    assert average_precision_of_all(y, known, scores) == pytest.approx(micro, abs=1e-12)
    of_known = average_precision_score(y[mask], scores[mask])
    found = average_precision_of_all(np.where(mask, y, 1), mask, scores)
    assert found == pytest.approx(of_known, abs=1e-12)


def test_average_precision_of_all_ranks_findings_against_each_other() -> None:
    y = np.array([[1, 0], [0, 1]])
    mask = np.ones((2, 2), dtype=bool)
    each_right = np.array([[0.9, 0.1], [0.8, 0.2]])  # both findings rank their image first
    assert auc_by_finding(y, mask, each_right).tolist() == [1, 1]
    assert average_precision_of_all(y, mask, each_right) == pytest.approx((1 + 2 / 3) / 2)
    assert math.isnan(average_precision_of_all(y, y == 0, each_right))


def test_macro_is_the_mean_over_defined_findings() -> None:
    assert macro(np.array([0.6, np.nan, 0.8])) == pytest.approx(0.7)
    assert math.isnan(macro(np.array([np.nan])))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.floats(0, 1)), max_size=20))
def test_a_group_mean_is_the_mean_of_the_rows_with_its_name(rows: list[tuple[str, float, float]]) -> None:
    groups, scores = [row[0] for row in rows], np.array([row[1:] for row in rows]).reshape(-1, 2)
    found = group_means(scores, groups)
    assert found.shape == scores.shape
    for row, group in enumerate(groups):
        same = [scores[other] for other, name in enumerate(groups) if name == group]
        assert found[row] == pytest.approx(np.mean(same, axis=0), abs=1e-12)


SCORES = {
    "fp32": lambda draw, n: draw.random(n, dtype=np.float32),
    "half": lambda draw, n: draw.random(n, dtype=np.float32).astype(np.float16),
    "whole numbers": lambda draw, n: draw.integers(0, 9, n),
    "of either sign": lambda draw, n: draw.standard_normal(n).astype(np.float32),
    "fp64": lambda draw, n: draw.random(n),
    "larger than fp32": lambda draw, n: 1e300 * np.round(draw.random(n), 1),
    "zeros of either sign": lambda draw, n: draw.choice(np.array([-0.0, 0.0, 0.5], dtype=np.float32), n),
    "smallest": lambda draw, n: (1e-45 * draw.integers(0, 40, n)).astype(np.float32),
    "one number": lambda draw, n: np.full(n, 0.25, dtype=np.float32),
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("n", [2, 3, 50, 4000])
def test_the_area_is_that_of_pairs_counted_whatever_numbers_scores_are(kind: str, n: int) -> None:
    """Counted pair by pair, and as scikit-learn; the two ways to count are the same bits where both apply."""
    for seed in range(5):
        draw = np.random.default_rng(seed)
        scores, y = SCORES[kind](draw, n), (draw.random(n) < 0.3).astype(np.int8)
        y[:2] = [1, 0]
        mine, theirs = scores[y == 1][:, None].astype(float), scores[y == 0].astype(float)
        pairs = ((mine > theirs).sum() + 0.5 * (mine == theirs).sum()) / (mine.size * theirs.size)
        found = roc_auc(y, scores)
        assert found == pairs
        assert found == pytest.approx(roc_auc_score(y, scores.astype(float)), abs=1e-12)
        bits = _bits(scores)
        assert bits is None or _from_bits(y, bits) == _from_ranks(y, scores)


def test_a_score_that_is_not_a_number_is_no_score() -> None:
    with pytest.raises(BrokenPromise, match="not a number"):
        roc_auc(np.array([0, 1]), np.array([0.5, np.nan]))
