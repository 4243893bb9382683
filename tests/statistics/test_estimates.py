"""Figures and differences of samples, with intervals where there are patients enough."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxrscore.statistics.estimates import MACRO, SHOWN, differences, estimates
from cxrscore.statistics.sample import Sample


def a_sample(*, seed: int = 0, rare: int = 0, noise: float = 1.0) -> Sample:
    """200 images of 80 patients, two common findings and, where asked for, one that `rare` patients show."""
    draw = np.random.default_rng(5)
    cluster = np.sort(np.append(np.arange(80), draw.integers(80, size=120)))
    y = (draw.random((200, 2)) < 0.3).astype(np.int8)
    if rare:
        y = np.column_stack([y, (cluster < rare).astype(np.int8)])
    scores = (y + noise * np.random.default_rng(seed).standard_normal(y.shape)).astype(np.float32)
    return Sample(("A", "B", "C")[: y.shape[1]], y, np.ones(y.shape, dtype=bool), scores, cluster)


def test_figures_are_sklearns_and_lie_within_their_intervals() -> None:
    sample = a_sample()
    found = estimates(sample, ["auc"], resamples=200)
    for j, name in enumerate(sample.findings):
        one = found["auc", name]
        assert one.value == pytest.approx(roc_auc_score(sample.y[:, j], sample.scores[:, j]), abs=1e-12)
        assert one.low < one.value < one.high
    assert found["auc", MACRO].value == pytest.approx(
        np.mean([found["auc", n].value for n in sample.findings])
    )


def test_a_finding_of_few_patients_has_no_interval_nor_has_a_mean_with_it() -> None:
    found = estimates(a_sample(rare=3), ["auc"], resamples=50)
    assert np.isnan(found["auc", "C"].low)
    assert found["auc", "C"].why == "fewer than 20 patients show it, or do not: 3 and 77"
    assert found["auc", MACRO].why == "fewer than 20 patients show C, or do not: 3 and 77"
    assert np.isnan(found["auc", MACRO].low)
    assert found["auc", SHOWN].low < found["auc", SHOWN].value


def test_a_sample_does_not_differ_from_itself_and_a_clearer_one_is_better() -> None:
    sample, clearer = a_sample(noise=2.0), a_sample(noise=0.3)
    same = differences(sample, sample, ["auc"], resamples=50)["auc", MACRO].difference
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert differences(sample, clearer, ["auc"], resamples=50)["auc", MACRO].difference.low > 0
