"""Variances of areas are those of the papers' sums, pair by pair, and those of another package."""

import math

import numpy as np
import pytest
from delong import Spread, area_spread, difference_spread
from MLstatkit import Delong_test
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from cxrscore.statistics.estimates import differences, estimates
from cxrscore.statistics.intervals import quantile
from cxrscore.statistics.sample import Sample


def some(seed: int, *, n: int = 60, patients: int = 20, ties: bool = True) -> tuple[np.ndarray, ...]:
    """y, two scores that go together, patients in no order: some of both classes, one of many images."""
    draw = np.random.default_rng(seed)
    y = (draw.random(n) < 0.3).astype(np.int8)
    y[:4] = [1, 1, 0, 0]
    cluster = draw.integers(patients, size=n)
    cluster[:4], cluster[n // 2 :: 3] = [0, 1, 2, 3], 4
    shared = draw.standard_normal(n) + draw.standard_normal(patients)[cluster]
    a, b = (gain * y + shared + draw.standard_normal(n) for gain in (1.0, 1.5))
    return (y, np.round(a), np.round(b), cluster) if ties else (y, a, b, cluster)


def psi(x: float, z: float) -> float:
    return 1.0 if x > z else 0.5 if x == z else 0.0


def obuchowski(y: np.ndarray, ways: list[np.ndarray], cluster: np.ndarray) -> np.ndarray:
    """The areas' covariance matrix, by the sums of the 1997 paper, term by term."""
    names = sorted(set(cluster.tolist()))
    rows = range(len(y))
    x, z = [i for i in rows if y[i] == 1], [i for i in rows if y[i] == 0]
    big_m, big_n, i_all = len(x), len(z), len(names)
    i10, i01 = len({cluster[i] for i in x}), len({cluster[i] for i in z})
    a, b = np.zeros((2, len(ways), i_all))
    for r, s in enumerate(ways):
        area = sum(psi(s[i], s[j]) for i in x for j in z) / (big_m * big_n)
        for k, name in enumerate(names):
            a[r, k] = sum(sum(psi(s[i], s[j]) for j in z) / big_n - area for i in x if cluster[i] == name)
            b[r, k] = sum(sum(psi(s[i], s[j]) for i in x) / big_m - area for j in z if cluster[j] == name)
    found = np.zeros((len(ways), len(ways)))
    for r in range(len(ways)):
        for t in range(len(ways)):
            s10 = i10 / ((i10 - 1) * big_m) * sum(a[r] * a[t])
            s01 = i01 / ((i01 - 1) * big_n) * sum(b[r] * b[t])
            s11, back = i_all / (i_all - 1) * sum(a[r] * b[t]), i_all / (i_all - 1) * sum(a[t] * b[r])
            found[r, t] = s10 / big_m + s01 / big_n + (s11 + back) / (big_m * big_n)
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [True, False])
def test_clustered_variances_are_the_papers_sums(seed: int, ties: bool) -> None:
    y, a, b, cluster = some(seed, ties=ties)
    covariance, known = obuchowski(y, [a, b], cluster), np.ones(len(y), dtype=bool)
    one = area_spread(y, known, a, cluster)
    assert one.value == pytest.approx(roc_auc_score(y, a), abs=1e-12)
    assert one.variance == pytest.approx(covariance[0, 0], rel=1e-10)
    both = difference_spread(y, known, a, b, cluster)
    assert both.value == pytest.approx(roc_auc_score(y, b) - roc_auc_score(y, a), abs=1e-12)
    assert both.variance == pytest.approx(
        covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], rel=1e-9
    )


@pytest.mark.parametrize("seed", range(8))
def test_without_clusters_it_is_delongs_test_of_another_package(seed: int) -> None:
    y, a, b, _ = some(seed)
    both = difference_spread(y, np.ones(len(y), dtype=bool), a, b)
    z, p = Delong_test(y, a, b)[:2]
    assert abs(both.value / math.sqrt(both.variance)) == pytest.approx(abs(z), rel=1e-8)
    assert 2 * norm.sf(abs(both.value) / math.sqrt(both.variance)) == pytest.approx(p, rel=1e-7)


def test_clusters_of_one_image_are_no_clusters() -> None:
    y, a, b, _ = some(0)
    known, each = np.ones(len(y), dtype=bool), np.random.default_rng(0).permutation(len(y))
    for plain, clustered in (
        (area_spread(y, known, a), area_spread(y, known, a, each)),
        (difference_spread(y, known, a, b), difference_spread(y, known, a, b, each)),
    ):
        assert clustered.variance == pytest.approx(plain.variance, rel=1e-12)


def test_masked_rows_are_as_rows_left_out() -> None:
    y, a, b, cluster = some(1)
    known = np.random.default_rng(1).random(len(y)) < 0.7
    left = difference_spread(y[known], known[known], a[known], b[known], cluster[known])
    assert difference_spread(y, known, a, b, cluster) == left


def test_one_patient_of_a_class_has_no_variance_and_one_class_no_area() -> None:
    y, s = np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.5, 0.1])
    known = np.ones(4, dtype=bool)
    alone = area_spread(y, known, s, np.array([0, 0, 1, 2]))
    assert alone.value == 0.75
    assert math.isnan(alone.variance)
    none = area_spread(np.zeros(4), known, s)
    assert isinstance(none, Spread) and math.isnan(none.value)


@pytest.mark.parametrize("one_each", [True, False])
def test_the_resamples_of_an_area_and_of_a_difference_vary_as_the_papers_say(one_each: bool) -> None:
    y, a, b, cluster = some(3, n=300, patients=100, ties=False)
    patient = np.arange(300) if one_each else np.unique(cluster, return_inverse=True)[1]
    known = np.ones((300, 1), dtype=bool)
    one, other = (Sample(("A",), y[:, None], known, s[:, None], patient) for s in (a, b))
    apart = differences(one, other, ["auc"])["auc", "A"].difference
    exact = difference_spread(y, known[:, 0], a, b, None if one_each else patient)
    error = (apart.high - apart.low) / 2 / quantile(0.975, apart.degrees)
    assert apart.value == pytest.approx(exact.value, abs=1e-12)
    assert error == pytest.approx(math.sqrt(exact.variance), rel=0.1)
    area = estimates(one, ["auc"])["auc", "A"]
    logits = [math.log(end / (1 - end)) for end in (area.low, area.high)]
    error = (logits[1] - logits[0]) / 2 / quantile(0.975, area.degrees) * area.value * (1 - area.value)
    assert error == pytest.approx(math.sqrt(area_spread(y, known[:, 0], a, patient).variance), rel=0.1)
