"""Intervals are of Student's t and of log odds, as scipy has them, and mean patients, not images."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from cxrscore.core.errors import BrokenPromise
from cxrscore.statistics.intervals import (
    Freedom,
    around,
    effective_patients,
    freedom_of,
    interval,
    pooled_freedom,
)


def test_a_plain_interval_is_students_t_times_the_resamples_deviation() -> None:
    resampled = np.random.default_rng(0).normal(0.1, 0.02, 500)
    low, high = interval(0.1, resampled, freedom=Freedom(11, 1.2))
    expected = stats.t.interval(0.95, 11, loc=0.1, scale=1.2 * resampled.std(ddof=1))
    assert (low, high) == pytest.approx(expected, abs=1e-12)


def test_a_figure_within_0_and_1_has_an_interval_of_its_log_odds() -> None:
    resampled = np.random.default_rng(0).normal(0.9, 0.05, 500)
    low, high = interval(0.9, resampled, scale="unit", freedom=Freedom(11))
    reach = stats.t.ppf(0.975, 11) * resampled.std(ddof=1) / (0.9 * 0.1)
    assert (low, high) == pytest.approx(expit(logit(0.9) + np.array([-reach, reach])), abs=1e-12)
    assert 0 < low < 0.9 < high < 1


def test_of_endless_patients_it_is_the_normal_distributions() -> None:
    assert around(0.0, 1.0) == pytest.approx(stats.norm.interval(0.95), abs=1e-12)
    assert around(0.0, 1.0, coverage=0.5, degrees=1e9)[1] == pytest.approx(stats.norm.ppf(0.75), abs=1e-6)


@pytest.mark.parametrize("patients", [10, 40, 400])
def test_at_an_end_of_the_range_it_is_clopper_and_pearsons(patients: int) -> None:
    exact = stats.binomtest(patients, patients).proportion_ci(0.95, "exact")
    assert around(1.0, 0.0, scale="unit", degrees=patients - 1) == pytest.approx((exact.low, 1.0), abs=1e-12)
    share = around(1.0, 0.0, scale="unit", degrees=2 * patients, trials=patients)
    assert share == pytest.approx((exact.low, 1.0), abs=1e-12)
    none = around(0.0, 0.0, scale="unit", degrees=patients - 1)
    assert none == pytest.approx((0.0, 1 - exact.low), abs=1e-12)


def test_resamples_without_a_value_are_left_out_and_none_with_one_is_no_interval() -> None:
    resampled = np.random.default_rng(0).normal(size=100)
    more = np.append(resampled, [np.nan] * 9)
    assert interval(0.0, more, freedom=Freedom(9)) == interval(0.0, resampled, freedom=Freedom(9))
    with pytest.raises(BrokenPromise, match="nothing is defined"):
        interval(0.0, np.full(9, np.nan))


def test_a_mean_is_known_from_the_findings_that_vary_most() -> None:
    """Satterthwaite's formula; of one that varies alone it is that one's."""
    draw = np.random.default_rng(0)
    resampled = draw.normal(size=(3, 4000)) * [[3.0], [1.0], [0.5]]
    each = [Freedom(9, 1.3), Freedom(29, 1.1), Freedom(79, 1.0)]
    raw = resampled.var(axis=1)
    v = raw * np.array([1.3, 1.1, 1.0]) ** 2
    expected = v.sum() ** 2 / sum(v**2 / np.array([9, 29, 79])), (v.sum() / raw.sum()) ** 0.5
    found = pooled_freedom(each, resampled)
    assert (found.degrees, found.widening) == pytest.approx(expected)
    assert 9 < found.degrees < 19 and 1.2 < found.widening < 1.3
    alone = pooled_freedom(each, resampled * [[1], [0], [0]])
    assert (alone.degrees, alone.widening) == pytest.approx((9, 1.3))
    undefined = np.vstack([resampled, np.full((1, 4000), np.nan)])
    assert pooled_freedom([*each, Freedom(1, 9)], undefined).degrees == pytest.approx(found.degrees)
    assert pooled_freedom(each, np.zeros((3, 5))).degrees == 9


def test_a_spread_of_two_classes_has_welchs_freedom_and_of_one_the_patients_less_one() -> None:
    """Welch-Satterthwaite, of variances s^2 / n with one s; resamples have (n - 1) / n of each."""
    one = freedom_of(12)
    assert (one.degrees, one.widening) == pytest.approx((11, (12 / 11) ** 0.5))
    two = freedom_of(5, 40)
    shares = np.array([1 / 5, 1 / 40])
    assert two.degrees == pytest.approx(shares.sum() ** 2 / (shares**2 / [4, 39]).sum())
    assert two.widening**2 == pytest.approx(shares.sum() / (shares * [4 / 5, 39 / 40]).sum())
    assert freedom_of(10, 10).degrees == pytest.approx(18)
    assert freedom_of(10, 1e9).degrees == pytest.approx(9, rel=1e-6)
    assert freedom_of(1, 1e9).degrees < 1 < freedom_of(1, 0).widening


def test_resamples_vary_less_than_samples_by_what_the_widening_says() -> None:
    """The variance of a mean among the resamples of 5 patients, over many samples: 4/5 of the mean's own."""
    draw = np.random.default_rng(0)
    samples = draw.normal(size=(4000, 5))
    among_resamples = samples.var(axis=1) / 5  # of all resamples, exactly
    assert among_resamples.mean() * freedom_of(5).widening ** 2 == pytest.approx(1 / 5, rel=0.05)


def test_patients_with_equally_many_images_are_worth_their_number_and_others_less() -> None:
    patient = np.repeat(np.arange(5), 3)
    every = np.ones(15, dtype=bool)
    assert effective_patients(every, patient) == 5
    assert effective_patients(patient < 2, patient) == 2
    assert effective_patients(patient > 9, patient) == 0
    uneven = np.repeat([0, 1, 2], [8, 1, 1])
    assert effective_patients(np.ones(10, dtype=bool), uneven) == pytest.approx(100 / 66)
