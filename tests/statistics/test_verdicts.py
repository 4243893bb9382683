"""What is said of a difference is what its interval, its family and the number of patients allow."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cxrscore.statistics.estimates import Estimate
from cxrscore.statistics.intervals import around
from cxrscore.statistics.verdicts import ALPHA, MOST, holm, more_patients, p_value, verdicts


def an_estimate(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half)


def test_a_p_value_is_that_of_the_interval() -> None:
    """An interval that ends at 0 is one of p = 0.05; the example of Altman & Bland has p = 0.005."""
    assert p_value(an_estimate(0.3, 0.3)) == pytest.approx(0.05, abs=1e-12)
    assert p_value(Estimate(math.log(0.81), math.log(0.70), math.log(0.94))) == pytest.approx(0.005, abs=5e-4)
    assert p_value(Estimate(0.0, 0.0, 0.0)) == 1 and p_value(Estimate(0.1, 0.1, 0.1)) == 0


@pytest.mark.parametrize("degrees", [19, 27.3, 40, 400])
@pytest.mark.parametrize("times", [0.5, 2.0, 3.3, 6.0])
def test_a_p_value_is_that_of_students_t_with_the_intervals_freedom(degrees: float, times: float) -> None:
    one = Estimate(-0.01 * times, *around(-0.01 * times, 0.01, degrees=degrees), degrees=degrees)
    assert p_value(one) == pytest.approx(2 * stats.t.sf(times, degrees), rel=1e-9)
    assert (p_value(one) <= 0.05) == (one.high < 0)
    assert p_value(Estimate(one.value, *around(one.value, 0.01))) == pytest.approx(2 * stats.norm.sf(times))


@pytest.mark.parametrize("degrees", [19, 25, 40])
def test_of_14_findings_that_do_not_differ_one_is_told_5_times_of_100(degrees: int) -> None:
    """Means of normal samples, whose standard errors have so many degrees of freedom. With the tail of the
    normal distribution it is 7.8, 6.9 and 6.0 times.
    """
    draw, wrong, families = np.random.default_rng(degrees), 0, 4000
    reach = around(0.0, 1.0, degrees=degrees)[1]
    for _ in range(families):
        samples = draw.standard_normal((14, degrees + 1))
        values, errors = samples.mean(1), samples.std(1, ddof=1) / (degrees + 1) ** 0.5
        ends = zip(values.tolist(), (reach * errors).tolist(), strict=True)
        family = [Estimate(value, value - half, value + half, degrees=degrees) for value, half in ends]
        wrong += min(holm([p_value(one) for one in family])) <= ALPHA
    assert 0.04 < wrong / families < 0.056


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float]) -> None:
    """The procedure as Holm wrote it: from the smallest on, stop at the first above alpha / (n - k + 1)."""
    rejected = set()
    for k, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > 0.05 / (len(p_values) - k):
            break
        rejected.add(i)
    adjusted = holm(p_values)
    assert {i for i, p in enumerate(adjusted) if p <= 0.05 * (1 - 1e-12)} <= rejected
    assert rejected <= {i for i, p in enumerate(adjusted) if p <= 0.05 * (1 + 1e-12)}


@pytest.mark.parametrize(
    ("value", "half", "word"),
    [(0.1, 0.05, "better"), (-0.1, 0.05, "worse"), (0.1, 0.11, "cannot tell"), (0.0, 0.0, "same")],
)
def test_one_figure_is_judged_by_its_interval(value: float, half: float, word: str) -> None:
    (verdict,) = verdicts([an_estimate(value, half)], patients=100)
    assert verdict.word == word and not verdict.chance
    (other,) = verdicts([an_estimate(value, half)], patients=100, better="lower")
    assert other.word == {"better": "worse", "worse": "better"}.get(word, word)


def test_among_many_an_interval_that_just_leaves_out_0_tells_nothing() -> None:
    alone = an_estimate(0.1, 0.095)
    assert verdicts([alone], patients=100)[0].word == "better"
    first, *others = verdicts([alone, *[an_estimate(0.0, 0.1)] * 13], patients=100)
    assert (first.word, first.chance) == ("cannot tell", True) and first.more
    assert not any(one.chance for one in others)


def test_a_finding_without_an_interval_is_not_counted_in_the_family() -> None:
    found = verdicts([an_estimate(0.1, 0.095), *[Estimate(0.1, why="few")] * 13], patients=100)
    assert [one.word for one in found] == ["better", *["no interval"] * 13]
    assert all(one.more is None for one in found)


def test_with_the_patients_that_are_said_four_of_five_samples_tell() -> None:
    """A difference of means: its error falls with the root of the number, as more_patients takes it to."""
    n, true = 50, 0.2
    error = 1 / math.sqrt(n)
    more = more_patients(an_estimate(true, 1.959964 * error), patients=n, alpha=0.05)
    assert more is not None
    exact = n * ((NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)) * error / true) ** 2
    assert exact <= n + more <= exact + 10  # two digits, rounded up
    samples = np.random.default_rng(0).standard_normal((4000, n + more)) + true
    told = samples.mean(1) > 1.959964 / math.sqrt(n + more)
    assert told.mean() == pytest.approx(0.8, abs=0.03)


def test_with_few_degrees_of_freedom_four_of_five_samples_tell_as_well() -> None:
    """The same, where the error is estimated: the tail is that of as many degrees as there will be."""
    n, true, alpha = 20, 0.5, 0.05 / 14
    error = 1 / math.sqrt(n)
    one = Estimate(true, *around(true, error, degrees=n - 1), degrees=n - 1)
    more = more_patients(one, patients=n, alpha=alpha)
    assert more is not None
    samples = np.random.default_rng(0).standard_normal((8000, n + more)) + true
    told = stats.ttest_1samp(samples, 0, axis=1).pvalue <= alpha
    assert told.mean() == pytest.approx(0.8, abs=0.025)


def test_more_patients_are_needed_where_more_figures_are_looked_at() -> None:
    alone, among = (more_patients(an_estimate(0.1, 0.2), patients=100, alpha=a) for a in (0.05, 0.05 / 14))
    assert alone and among and among > alone


def test_a_silly_number_of_patients_is_not_said() -> None:
    assert more_patients(an_estimate(1e-4, 0.2), patients=100, alpha=0.05) is None
    assert more_patients(an_estimate(0.0, 0.2), patients=100, alpha=0.05) is None
    least = an_estimate(0.2 * 2.81 / 1.96 / math.sqrt(MOST), 0.2)
    more = more_patients(least, patients=100, alpha=0.05)
    assert more and more <= 100 * MOST
