"""Figures and differences of samples, with intervals where there are patients enough."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from cxrscore.statistics.estimates import MACRO, SHOWN, differences, estimates
from cxrscore.statistics.interval_rules import TABLE
from cxrscore.statistics.measures import MEASURES
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
    assert found["auc", MACRO].why == "1 of 3 findings is shown by fewer than 20 patients"
    assert np.isnan(found["auc", MACRO].low)
    assert found["auc", SHOWN].low < found["auc", SHOWN].value


def test_a_finding_without_the_figure_is_no_part_of_the_mean_nor_of_why_it_has_no_interval() -> None:
    sample = as_probabilities(a_sample(rare=3))
    nobody = replace(sample, y=sample.y * np.array([1, 1, 0], dtype=np.int8))
    found = estimates(nobody, ["auc", "brier"], resamples=50)
    assert np.isnan(found["auc", "C"].value)
    assert found["auc", MACRO].low < found["auc", MACRO].value < found["auc", MACRO].high
    assert ("auc", SHOWN) not in found
    assert found["brier", MACRO].why == "1 of 3 findings is shown by fewer than 20 patients"
    apart = differences(nobody, nobody, ["auc"], resamples=50)
    assert apart["auc", MACRO].difference.low == 0 and ("auc", SHOWN) not in apart


def test_a_sample_does_not_differ_from_itself_and_a_clearer_one_is_better() -> None:
    sample, clearer = a_sample(noise=2.0), a_sample(noise=0.3)
    same = differences(sample, sample, ["auc"], resamples=50)["auc", MACRO].difference
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert differences(sample, clearer, ["auc"], resamples=50)["auc", MACRO].difference.low > 0


def test_every_measure_of_one_sample_has_an_interval_or_says_why_not() -> None:
    sample = a_sample()
    again = {name: np.concatenate([getattr(sample, name)] * 3) for name in ("y", "mask", "scores")}
    sample = replace(sample, **again, cluster=np.concatenate([sample.cluster + 80 * k for k in range(3)]))
    probs = (1 / (1 + np.exp(-sample.scores))).astype(np.float32)
    found = estimates(replace(sample, scores=probs), resamples=100)
    assert {measure for measure, _ in found} == set(MEASURES)
    for (measure, of), one in found.items():
        assert (of == TABLE) == (MEASURES[measure].of == "table")
        if MEASURES[measure].fewest is None:
            assert np.isnan(one.low) and one.why == MEASURES[measure].why
        else:
            assert one.low < one.high, (measure, of)


def test_the_calibration_error_has_no_interval_since_resamples_have_more_of_it() -> None:
    """Scores that are calibrated: the truth is 0, and no interval of the resamples would hold it."""
    draw = np.random.default_rng(0)
    scores = draw.random((200, 1))
    y = (draw.random((200, 1)) < scores).astype(np.int8)
    sample = Sample(("A",), y, np.ones(y.shape, dtype=bool), scores, np.arange(200))
    one = estimates(sample, ["calibration_error"], resamples=20)["calibration_error", "A"]
    assert one.value > 0.05 and np.isnan(one.low) and "higher still" in one.why
    less = differences(sample, sample, ["calibration_error"], resamples=20)["calibration_error", MACRO]
    assert np.isnan(less.difference.low) and "higher still" in less.difference.why


def test_one_patient_with_all_images_has_figures_and_no_interval() -> None:
    sample = a_sample()
    probs = (1 / (1 + np.exp(-sample.scores))).astype(np.float32)
    found = estimates(replace(sample, scores=probs, cluster=np.zeros(200, dtype=np.int64)), resamples=20)
    assert all(np.isfinite(one.value) and np.isnan(one.low) for one in found.values())
    assert all("fewer than" in one.why for (name, _), one in found.items() if MEASURES[name].fewest)


def test_a_figure_that_many_resamples_lack_has_no_interval() -> None:
    """One image keeps the classes from being separated: without it no slope is finite."""
    y = np.repeat(np.array([[0], [1]], dtype=np.int8), 50, axis=0)
    scores = np.linspace(0.05, 0.95, 100, dtype=np.float32)[:, None].copy()
    scores[0] = 0.75
    sample = Sample(("A",), y, np.ones(y.shape, dtype=bool), scores, np.arange(100))
    one = estimates(sample, ["calibration_slope"], resamples=400)["calibration_slope", "A"]
    assert one.value > 0 and np.isnan(one.low)
    assert one.why.startswith("undefined in 3") and one.why.endswith(
        "% of the resamples"
    )  # 36 % are expected


AT_ONE = {  # figure -> of 160 patients who show it, and 200 who do not, those it is a share of
    "auc": 160,
    "average_precision": 160,
    "sensitivity_at_specificity_90": 160,
    "specificity_at_sensitivity_90": 200,
    "ap_all": 160,
    "or": 160,
    "cr": 160,
    "subset_accuracy": 360,
}


@pytest.mark.parametrize("measure", AT_ONE)
def test_at_one_an_interval_is_clopper_and_pearsons_of_the_class_that_a_figure_is_a_share_of(
    measure: str,
) -> None:
    y = (np.arange(360) < 160).astype(np.int8)[:, None]
    sample = Sample(("A",), y, np.ones(y.shape, dtype=bool), 0.1 + 0.8 * y, np.arange(360))
    found = estimates(sample, [measure], resamples=20)
    of = TABLE if (measure, TABLE) in found else "A"
    exact = stats.binomtest(AT_ONE[measure], AT_ONE[measure]).proportion_ci(0.95, "exact")
    assert (found[measure, of].low, found[measure, of].high) == pytest.approx((exact.low, 1.0), abs=1e-12)


@pytest.mark.parametrize(
    ("measure", "fewest"),
    [("auc", 20), ("brier", 20), ("average_precision", 50), ("sensitivity_at_specificity_90", 50)],
)
def test_each_measure_has_its_interval_from_the_patients_on_from_which_it_holds(
    measure: str, fewest: int
) -> None:
    for patients in (fewest, fewest - 1):
        y = (np.arange(patients + 100) < patients).astype(np.int8)[:, None]
        scores = y + np.random.default_rng(0).normal(size=y.shape)
        probs = 1 / (1 + np.exp(-scores))
        sample = Sample(("A",), y, np.ones(y.shape, dtype=bool), probs, np.arange(len(y)))
        one = estimates(sample, [measure], resamples=50)[measure, "A"]
        few = f"fewer than {fewest} patients show it, or do not: {patients} and 100"
        assert (one.why, np.isnan(one.low)) == (("", False) if patients == fewest else (few, True))


MEANS_OVER_FINDINGS = ("cp", "cr", "cf1", "macro_f1", "cp_top3", "cr_top3", "cf1_top3")


def as_probabilities(sample: Sample) -> Sample:
    return replace(sample, scores=(1 / (1 + np.exp(4 * (0.5 - sample.scores)))).astype(np.float32))


@pytest.mark.parametrize("measure", MEANS_OVER_FINDINGS)
def test_a_mean_over_findings_of_which_one_is_rare_has_a_value_and_no_interval(measure: str) -> None:
    common, rare = (
        estimates(as_probabilities(a_sample(rare=shown)), [measure], resamples=50)[measure, TABLE]
        for shown in (25, 3)
    )
    assert common.low < common.value < common.high
    assert 0 < rare.value < 1 and np.isnan(rare.low)
    assert rare.why == "1 of 3 findings is shown by fewer than 20 patients"


def test_a_finding_that_nobody_shows_is_no_part_of_the_papers_means() -> None:
    sample = as_probabilities(a_sample(rare=25))
    nobody = replace(
        sample, y=sample.y * np.array([1, 1, 0], dtype=np.int8), scores=sample.scores * np.array([1, 1, 0.1])
    )
    for measure in MEANS_OVER_FINDINGS:
        one = estimates(nobody, [measure], resamples=50)[measure, TABLE]
        assert one.low < one.value < one.high, measure


@pytest.mark.parametrize("measure", ["op", "or", "of1", "micro_f1", "example_f1", "cp"])
def test_figures_of_calls_have_no_interval_where_few_patients_have_one(measure: str) -> None:
    sample = as_probabilities(a_sample())
    seldom = replace(sample, scores=np.where(sample.cluster[:, None] < 5, sample.scores, 0.1))
    one = estimates(seldom, [measure], resamples=50)[measure, TABLE]
    assert np.isnan(one.low)
    many = "2 of 2 findings are called in fewer than 20 patients"
    assert one.why == (many if measure == "cp" else "fewer than 20 patients have a label that is called: 4")
    same = differences(sample, seldom, [measure], resamples=50)[measure, TABLE].difference
    assert np.isnan(same.low) and same.why == one.why
    shares = estimates(seldom, ["subset_accuracy"], resamples=50)["subset_accuracy", TABLE]
    assert shares.low < shares.value < shares.high
