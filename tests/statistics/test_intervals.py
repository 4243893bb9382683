"""Intervals are of Student's t and of log odds, as scipy has them, and mean patients, not images."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from cxrscore.core.errors import BrokenPromise
from cxrscore.statistics.intervals import around, interval, pooled, worth


def test_a_plain_interval_is_students_t_times_the_resamples_deviation() -> None:
    resampled = np.random.default_rng(0).normal(0.1, 0.02, 500)
    low, high = interval(0.1, resampled, patients=12)
    expected = stats.t.interval(0.95, 11, loc=0.1, scale=resampled.std(ddof=1))
    assert (low, high) == pytest.approx(expected, abs=1e-12)


def test_a_figure_within_0_and_1_has_an_interval_of_its_log_odds() -> None:
    resampled = np.random.default_rng(0).normal(0.9, 0.05, 500)
    low, high = interval(0.9, resampled, scale="unit", patients=12)
    reach = stats.t.ppf(0.975, 11) * resampled.std(ddof=1) / (0.9 * 0.1)
    assert (low, high) == pytest.approx(expit(logit(0.9) + np.array([-reach, reach])), abs=1e-12)
    assert 0 < low < 0.9 < high < 1


def test_of_endless_patients_it_is_the_normal_distributions() -> None:
    assert around(0.0, 1.0) == pytest.approx(stats.norm.interval(0.95), abs=1e-12)
    assert around(0.0, 1.0, coverage=0.5, patients=1e9)[1] == pytest.approx(stats.norm.ppf(0.75), abs=1e-6)


@pytest.mark.parametrize("patients", [10, 40, 400])
def test_at_an_end_of_the_range_it_is_clopper_and_pearsons(patients: int) -> None:
    exact = stats.binomtest(patients, patients).proportion_ci(0.95, "exact")
    assert around(1.0, 0.0, scale="unit", patients=patients) == pytest.approx((exact.low, 1.0), abs=1e-12)
    none = around(0.0, 0.0, scale="unit", patients=patients)
    assert none == pytest.approx((0.0, 1 - exact.low), abs=1e-12)


def test_resamples_without_a_value_are_left_out_and_none_with_one_is_no_interval() -> None:
    resampled = np.random.default_rng(0).normal(size=100)
    more = np.append(resampled, [np.nan] * 9)
    assert interval(0.0, more, patients=20) == interval(0.0, resampled, patients=20)
    with pytest.raises(BrokenPromise, match="nothing is defined"):
        interval(0.0, np.full(9, np.nan))


def test_a_mean_is_known_from_the_patients_of_the_findings_that_vary_most() -> None:
    """Satterthwaite's formula; equal findings add up their patients, one that varies alone has its own."""
    draw = np.random.default_rng(0)
    resampled = draw.normal(size=(3, 4000)) * [[3.0], [1.0], [0.5]]
    patients = np.array([10.0, 30.0, 80.0])
    v = resampled.var(axis=1)
    expected = 1 + v.sum() ** 2 / sum(v**2 / (patients - 1))
    assert pooled(patients, resampled) == pytest.approx(expected)
    assert 10 < pooled(patients, resampled) < 20
    assert pooled(patients, resampled * [[1], [0], [0]]) == pytest.approx(10)
    undefined = np.vstack([resampled, np.full((1, 4000), np.nan)])
    assert pooled(np.append(patients, 0), undefined) == pytest.approx(expected)
    assert pooled(patients, np.zeros((3, 5))) == 10


def test_patients_with_equally_many_images_are_worth_their_number_and_others_less() -> None:
    patient = np.repeat(np.arange(5), 3)
    every = np.ones(15, dtype=bool)
    assert worth(every, patient) == 5
    assert worth(patient < 2, patient) == 2
    assert worth(patient > 9, patient) == 0
    uneven = np.repeat([0, 1, 2], [8, 1, 1])
    assert worth(np.ones(10, dtype=bool), uneven) == pytest.approx(100 / 66)
