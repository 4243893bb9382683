"""A calibration map increases strictly, is the likeliest of its kind, and leaves each model its area."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cxrscore.decisions.calibration import (
    BETA,
    FLATTEST,
    LOGISTIC,
    STEEPEST,
    CalibrationMap,
    expit,
    fit,
    logarithms,
    smoothed,
)
from cxrscore.decisions.fold_maps import (
    FEWEST,
    FEWEST_POOLED,
    NONE,
    OWN,
    POOLED,
    cross_calibrated,
    fit_fold_maps,
)
from cxrscore.decisions.probability_errors import brier, calibration_error, log_loss
from cxrscore.statistics.roc_area import auc_by_finding, roc_auc
from cxrscore.statistics.sample import Sample

SLOPES = st.floats(FLATTEST, STEEPEST)
SCORES = st.floats(0, 1, width=32)


def scores_of(n: int, seed: int, *, extreme: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scores in float32 that rank well and are badly calibrated, and truth; `extreme`: most near 0 or 1."""
    generator = np.random.default_rng(seed)
    z = generator.normal(-1, 1.5, n)
    y = (generator.random(n) < expit(z)).astype(np.int8)
    return expit(14 * z + 2 if extreme else 0.4 * z + 0.3).astype(np.float32), y


@given(a=SLOPES, b=SLOPES, c=st.floats(-30, 30), low=SCORES, high=SCORES)
def test_a_map_increases_strictly_between_any_two_scores(
    a: float, b: float, c: float, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    first, second = CalibrationMap(a, b, c).log_odds(np.array([low, high], np.float32))
    assert second > first if high > low else second == first
    assert np.isfinite([first, second]).all()


@given(a=SLOPES, b=SLOPES, c=st.floats(-5, 5), where=st.integers(0, 2**30))
def test_neighbours_in_float32_stay_apart_in_log_odds(a: float, b: float, c: float, where: int) -> None:
    low = np.float32(where / 2**30)
    high = np.nextafter(low, np.float32(2), dtype=np.float32)
    if high <= 1:
        first, second = CalibrationMap(a, b, c).log_odds(np.array([low, high]))
        assert second > first


def test_the_identity_gives_back_every_score() -> None:
    scores = np.array([0, 1e-30, 1e-7, 0.25, 0.5, 0.999, 1], np.float32)
    np.testing.assert_allclose(CalibrationMap()(scores), scores, rtol=1e-12, atol=1e-7)


@pytest.mark.parametrize("kind", [LOGISTIC, BETA])
@pytest.mark.parametrize("extreme", [False, True], ids=["narrow", "near 0 and 1"])
def test_the_area_of_the_calibrated_scores_is_scikit_learns_of_the_scores(kind: str, extreme: bool) -> None:
    for seed in range(5):
        scores, y = scores_of(3000, seed, extreme=extreme)
        assert not extreme or ((scores < 1e-3) | (scores > 0.999)).mean() > 0.6
        after = fit(scores, y, kind=kind)(scores)
        assert roc_auc(y, after) == pytest.approx(roc_auc_score(y, scores), abs=1e-9)
        assert len(np.unique(after)) == len(np.unique(scores))


def likeliest(columns: np.ndarray, y: np.ndarray) -> np.ndarray:
    """scikit-learn's, without penalty: each image is of both classes, weighted by Platt's targets."""
    targets = smoothed(y)
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    rows = np.vstack([columns, columns])
    model.fit(rows, np.repeat([1, 0], len(y)), sample_weight=np.append(targets, 1 - targets))
    return np.append(model.coef_[0], model.intercept_)


def test_the_maps_are_those_of_scikit_learns_logistic_regression() -> None:
    for seed in range(4):
        scores, y = scores_of(800, seed)
        log_p, minus_log_rest = logarithms(scores)
        own = fit(scores, y, kind=LOGISTIC)
        slope, c = likeliest((log_p + minus_log_rest)[:, None], y)
        assert own.a == own.b
        assert (own.a, own.c) == pytest.approx((slope, c), abs=2e-4)
        best = likeliest(np.stack([log_p, minus_log_rest], 1), y)
        if min(best[:2]) > FLATTEST:
            beta = fit(scores, y, kind=BETA)
            assert (beta.a, beta.b, beta.c) == pytest.approx(tuple(best), abs=2e-3)


@pytest.mark.parametrize("kind", [LOGISTIC, BETA])
def test_scores_that_separate_the_classes_or_say_nothing_have_a_map_too(kind: str) -> None:
    y = np.array([0] * 30 + [1] * 4)
    separate = fit(np.linspace(0.3, 0.6, 34, dtype=np.float32), y, kind=kind)
    assert separate(np.array([0.6]))[0] <= 0.999
    wrong = fit(np.linspace(0.6, 0.3, 34, dtype=np.float32), y, kind=kind)
    assert min(wrong.a, wrong.b) == pytest.approx(FLATTEST)
    assert 0.05 < wrong(np.array([0.4]))[0] < 0.3
    equal = fit(np.full(34, 0.5, np.float32), y, kind=kind)
    assert equal(np.array([0.5]))[0] == pytest.approx(smoothed(y).mean(), abs=1e-5)


def sample_of(patients: int, seed: int, *, rare: float = -1.0, per_patient: int = 2) -> Sample:
    generator = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(patients), per_patient)
    z = generator.normal(rare, 1.5, (len(cluster), 1))
    y = (generator.random(z.shape) < expit(z)).astype(np.int8)
    return Sample(("Edema",), y, np.ones(y.shape, bool), expit(0.4 * z + 0.3).astype(np.float32), cluster)


def test_each_model_has_the_map_of_its_own_scores_and_keeps_its_area() -> None:
    folds = [sample_of(300, 0), sample_of(300, 1)]
    maps = fit_fold_maps(folds)
    assert maps.source == (OWN,)
    for fold, (own,) in zip(folds, maps.maps, strict=True):
        assert own == fit(fold.scores[:, 0], fold.y[:, 0], kind=BETA)
        before = auc_by_finding(fold.y, fold.mask, fold.scores)
        assert auc_by_finding(fold.y, fold.mask, own(fold.scores)) == pytest.approx(before, abs=1e-9)
    both = maps.calibrated(np.stack([folds[0].scores, folds[0].scores]))
    np.testing.assert_allclose(both[1], maps.maps[1][0](folds[0].scores), rtol=1e-12)


def test_few_patients_share_a_map_and_fewer_have_none() -> None:
    few = [sample_of(80, seed, rare=-3) for seed in (5, 6)]
    shown = [int(fold.shown()[0][0]) for fold in few]
    assert min(shown) < FEWEST and sum(shown) >= FEWEST_POOLED
    maps = fit_fold_maps(few)
    assert maps.source == (POOLED,) and maps.maps[0] == maps.maps[1]
    assert maps.shown == tuple((count,) for count in shown)
    none = fit_fold_maps([sample_of(8, 0), sample_of(8, 1)])
    assert none.source == (NONE,) and none.maps == ((CalibrationMap(),), (CalibrationMap(),))


def test_a_patients_scores_are_calibrated_by_a_map_that_has_not_seen_them() -> None:
    folds = [sample_of(200, 0), sample_of(200, 1)]
    before = cross_calibrated(folds)
    turned = folds[0].y.copy()
    rows = folds[0].cluster == 7
    turned[rows] = 1 - turned[rows]
    changed = Sample(folds[0].findings, turned, folds[0].mask, folds[0].scores, folds[0].cluster)
    after = cross_calibrated([changed, folds[1]])
    np.testing.assert_array_equal(after[0][rows], before[0][rows])
    assert (after[0] != before[0]).any()


def test_calibration_lowers_the_errors_on_patients_that_it_has_not_seen() -> None:
    folds = [sample_of(400, seed) for seed in (0, 1, 2)]
    for fold, probs in zip(folds, cross_calibrated(folds), strict=True):
        y, scores, after = fold.y[:, 0], fold.scores[:, 0].astype(float), probs[:, 0]
        for error in (calibration_error, brier, log_loss):
            assert error(y, after) < error(y, scores)


def test_masked_labels_count_nowhere() -> None:
    fold = sample_of(300, 0)
    mask = np.random.default_rng(0).random(fold.y.shape) < 0.7
    wrong = np.where(mask, fold.y, 1 - fold.y)
    found = [
        fit_fold_maps([Sample(fold.findings, y, mask, fold.scores, fold.cluster)]).maps
        for y in (fold.y, wrong)
    ]
    assert found[0] == found[1]


def test_errors_are_those_of_a_slow_loop() -> None:
    y, probs = np.array([0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0]), np.linspace(0.05, 0.9, 12)
    groups = [[i for i in range(12) if k / 15 < probs[i] <= (k + 1) / 15] for k in range(15)]
    gaps = [abs(sum(y[i] for i in rows) - sum(probs[i] for i in rows)) for rows in groups]
    assert calibration_error(y, probs) == pytest.approx(sum(gaps) / 12)
    assert brier(y, probs) == pytest.approx(sum((p - t) ** 2 for p, t in zip(probs, y, strict=True)) / 12)
    loss = -sum(np.log(p if t else 1 - p) for p, t in zip(probs, y, strict=True)) / 12
    assert log_loss(y, probs) == pytest.approx(loss)
    assert np.isnan([brier(y[:0], probs[:0]), log_loss(y[:0], probs[:0])]).all()
