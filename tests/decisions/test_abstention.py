"""What is promised of abstention holds in simulation, and what is kept is kept for the stated reason."""

from math import ceil

import numpy as np
import pytest
from scipy.stats import binom

from cxrscore.decisions.abstention import (
    Limits,
    conformal_limits,
    doubt,
    kept_by_all,
    kept_by_limits,
    quantile,
)
from cxrscore.decisions.thresholds import calls_of
from cxrscore.statistics.sample import Sample


def drawn(patients: int, generator: np.random.Generator, *, most: int = 1) -> Sample:
    """Patients with 1 to `most` images each, alike within a patient; a finding on every third."""
    images = generator.integers(1, most + 1, patients)
    cluster = np.repeat(np.arange(patients), images)
    y = np.repeat(generator.random(patients) < 1 / 3, images).astype(np.int8)
    own = np.repeat(generator.normal(0, 1, patients), images)
    z = 1.5 * y + own + generator.normal(0, 0.5, len(y))
    probs = 1 / (1 + np.exp(-z))
    return Sample(("Edema",), y[:, None], np.ones((len(y), 1), bool), probs[:, None], cluster)


def ruled_out(sample: Sample, limits: Limits) -> np.ndarray:
    below, above = sample.scores < limits.present_below, sample.scores > limits.absent_above
    return np.where(sample.y == 1, below, above)[:, 0]


@pytest.mark.parametrize(("coverage", "patients"), [(0.9, 60), (0.8, 40), (0.95, 150)])
def test_the_truth_of_a_new_image_is_ruled_out_as_rarely_as_promised(coverage: float, patients: int) -> None:
    """With one image per patient the promise is exact: from the coverage to 1 / (n + 1) above it."""
    generator = np.random.default_rng(0)
    right = {1: [], 0: []}
    for _ in range(1500):
        limits = conformal_limits(drawn(patients, generator), coverage=coverage)
        new = drawn(4, generator)
        kept = ~ruled_out(new, limits)
        for truth, found in right.items():
            found.extend(kept[new.y[:, 0] == truth][:1])
    for found in right.values():
        low, _ = binom.interval(0.999, len(found), coverage)
        assert sum(found) >= low
    at_most = coverage + 1 / (patients / 2)  # of those without it there are more than half
    assert np.mean(right[0]) <= at_most + 0.02


def test_patients_with_many_images_do_not_weaken_the_promise() -> None:
    generator = np.random.default_rng(1)
    right = {1: [], 0: []}
    for _ in range(1200):
        limits = conformal_limits(drawn(150, generator, most=8), coverage=0.9)
        new = drawn(6, generator)
        kept = ~ruled_out(new, limits)
        for truth, found in right.items():
            found.extend(kept[new.y[:, 0] == truth][:1])
    for found in right.values():
        assert 0.885 <= np.mean(found) <= 0.945  # more images tell more: a little above


def test_calls_that_are_kept_are_wrong_no_more_often_than_promised_by_any_threshold() -> None:
    generator = np.random.default_rng(2)
    limits = conformal_limits(drawn(4000, generator), coverage=0.9)
    new = drawn(20_000, generator)
    for threshold in (0.2, 0.5, 0.8):
        calls = calls_of(new.scores, np.array([threshold]))
        kept = kept_by_limits(new.scores, calls, limits)
        assert kept.any() and not kept.all()
        for truth in (0, 1):
            mine = new.y == truth
            assert (kept & (calls != truth))[mine].mean() <= 0.13


def test_the_quantile_of_single_images_is_the_textbooks() -> None:
    scores = np.random.default_rng(0).random(37)
    for coverage in (0.5, 0.9, 0.95, 0.97):
        rank = ceil(38 * coverage - 1e-9)
        expected = np.sort(scores)[rank - 1] if rank <= 37 else np.nan
        assert quantile(scores, np.arange(37), coverage) == pytest.approx(expected, nan_ok=True)
    assert np.isnan(quantile(scores[:8], np.arange(8), 0.9))  # 9 are needed
    assert quantile(scores[:9], np.arange(9), 0.9) == scores[:9].max()


def test_copies_of_a_patients_image_change_no_limit() -> None:
    scores, cluster = np.random.default_rng(3).random(30), np.arange(30)
    once = quantile(scores, cluster, 0.8)
    assert quantile(np.append(scores, [scores[4]] * 50), np.append(cluster, [4] * 50), 0.8) == once


def test_with_too_few_patients_no_call_is_kept() -> None:
    few = drawn(12, np.random.default_rng(4))
    limits = conformal_limits(few, coverage=0.99)
    assert np.isnan(limits.present_below).all() and np.isnan(limits.absent_above).all()
    calls = calls_of(few.scores, np.array([0.5]))
    assert not kept_by_limits(few.scores, calls, limits).any()


def test_doubt_is_at_most_one_less_the_coverage_where_a_call_is_kept() -> None:
    generator = np.random.default_rng(5)
    chosen_on, new = drawn(80, generator), drawn(200, generator)
    calls = calls_of(new.scores, np.array([0.5]))
    found = doubt(chosen_on, new.scores, calls)
    for coverage in (0.7, 0.85, 0.9):
        kept = kept_by_limits(new.scores, calls, conformal_limits(chosen_on, coverage=coverage))
        np.testing.assert_array_equal(found <= 1 - coverage + 1e-9, kept)


def test_a_call_on_which_one_model_disagrees_is_not_kept() -> None:
    by_fold = np.array([[[0.9], [0.6], [0.2]], [[0.7], [0.3], [0.1]]])  # (F, n, L)
    thresholds = np.array([0.4])
    calls = calls_of(by_fold.mean(0), thresholds)
    assert calls[:, 0].tolist() == [1, 1, 0]
    assert kept_by_all(by_fold, calls, thresholds)[:, 0].tolist() == [True, False, True]
    without = np.array([np.nan])
    assert not kept_by_all(by_fold, calls_of(by_fold.mean(0), without), without).any()
