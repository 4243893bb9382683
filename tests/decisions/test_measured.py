"""Shares of calls that are right, and what rules reached, against slow loops and scikit-learn."""

from collections import defaultdict

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from cxrscore.decisions.measured import (
    ALL,
    coverages,
    curve_rows,
    kept_headlines,
    predictive_rows,
    threshold_rows,
)
from cxrscore.decisions.shares import Counted, shares
from cxrscore.statistics.sample import Sample

FINDINGS = ("Edema", "Mass", "Rare")


@pytest.fixture
def sample() -> Sample:
    draw = np.random.default_rng(5)
    cluster = np.sort(draw.integers(0, 60, 200))
    cluster = np.unique(cluster, return_inverse=True)[1]
    y = (draw.random((200, 3)) < (0.4, 0.3, 0.05)).astype(np.int8)
    return Sample(FINDINGS, y, draw.random((200, 3)) < 0.9, draw.random((200, 3)), cluster.astype(np.int64))


@pytest.fixture
def calls(sample: Sample) -> np.ndarray:
    draw = np.random.default_rng(6)
    made = np.where(draw.random(sample.y.shape) < 0.8, sample.y, 1 - sample.y).astype(float)
    made[:, 2] = np.nan  # no threshold
    return made


def test_a_share_is_that_of_a_loop_and_a_patient_weighs_one_where_asked(sample: Sample) -> None:
    draw = np.random.default_rng(7)
    cells, having = draw.random(200) < 0.6, draw.random(200) < 0.5
    counted = {
        "each": Counted(cells, cells & having),
        "one": Counted(cells, cells & having, one_together=True),
    }
    found = shares(counted, sample.cluster)
    assert found["each"].value == pytest.approx(having[cells].mean(), abs=1e-12)
    by_patient = defaultdict(list)
    for i in np.flatnonzero(cells):
        by_patient[sample.cluster[i]].append(having[i])
    assert found["one"].value == pytest.approx(
        np.mean([np.mean(own) for own in by_patient.values()]), abs=1e-12
    )
    for share in found.values():
        assert share.patients == len(by_patient) and 0 < share.low < share.value < share.high < 1
    few = sample.cluster < 19
    assert np.isnan(shares({"few": Counted(few, few & having)}, sample.cluster)["few"].low)
    assert shares({}, sample.cluster) == {}


def test_predictive_values_are_scikit_learns_of_the_calls_that_are_kept(
    sample: Sample, calls: np.ndarray
) -> None:
    some = (np.random.default_rng(8).random(calls.shape) < 0.5) & ~np.isnan(calls)
    rows = list(predictive_rows("test", sample, calls, {"all calls": ~np.isnan(calls), "some": some}))
    assert {row[1] for row in rows} == {"all calls", "some"} and "Rare" not in {row[2] for row in rows}
    for _, by, finding, call, patients, number, right, low, high in rows:
        columns = [0, 1] if finding == ALL else [FINDINGS.index(str(finding))]
        kept = (sample.mask & (some if by == "some" else ~np.isnan(calls)))[:, columns]
        truth, made = sample.y[:, columns][kept], calls[:, columns][kept]
        table = confusion_matrix(truth, made, labels=[0, 1])
        assert number == table[:, call].sum()
        assert float(right) == pytest.approx(table[call, call] / table[:, call].sum(), abs=1e-5)
        with_call = sample.cluster[(kept & (calls[:, columns] == call)).any(1)]
        assert patients == len(np.unique(with_call))
        assert float(low) < float(right) < float(high)


def test_what_a_rule_reached_is_scikit_learns_figure(sample: Sample, calls: np.ndarray) -> None:
    rules = ("youden", "f1", "accuracy", "sensitivity", "specificity", "micro_f1", "subset_accuracy")
    thresholds = {rule: np.array([0.5, 0.5, np.nan]) for rule in rules}
    rows = {
        (row[1], row[2]): row for row in threshold_rows("x", sample, thresholds, dict.fromkeys(rules, calls))
    }
    for j, finding in enumerate(FINDINGS[:2]):
        known = sample.mask[:, j]
        truth, made = sample.y[known, j], calls[known, j]
        (spared, false), (missed, hit) = confusion_matrix(truth, made)
        sensitivity, specificity = hit / (hit + missed), spared / (spared + false)
        wanted = {"youden": sensitivity + specificity - 1, "f1": f1_score(truth, made)}
        wanted |= {"accuracy": accuracy_score(truth, made)}
        wanted |= {"sensitivity": sensitivity, "specificity": specificity}
        for rule, value in wanted.items():
            assert float(rows[rule, finding][-1]) == pytest.approx(value, abs=1e-5), rule
        assert rows["micro_f1", finding][-1] == ""
    assert rows["youden", "Rare"][-1] == ""
    known = sample.mask[:, :2]
    micro = f1_score(sample.y[:, :2][known], calls[:, :2][known])
    assert float(rows["micro_f1", ALL][-1]) == pytest.approx(micro, abs=1e-5)
    whole = [
        all(calls[i, j] == sample.y[i, j] for j in (0, 1) if known[i, j])
        for i in range(200)
        if known[i].any()
    ]
    assert float(rows["subset_accuracy", ALL][-1]) == pytest.approx(np.mean(whole), abs=1e-5)
    assert ("youden", ALL) not in rows


def test_the_kept_share_is_of_the_calls_and_not_of_findings_without_one(
    sample: Sample, calls: np.ndarray
) -> None:
    kept = (np.random.default_rng(9).random(calls.shape) < 0.5) & ~np.isnan(calls)
    numbers = kept_headlines(sample, calls, kept)
    made = sample.mask & ~np.isnan(calls)
    assert numbers["calls_kept"] == pytest.approx((made & kept).sum() / made.sum(), abs=1e-5)
    for name, call in (("ppv", 1), ("npv", 0)):
        of_all, left = made & (calls == call), made & kept & (calls == call)
        assert numbers[name] == {
            "all": pytest.approx((sample.y == call)[of_all].mean(), abs=1e-5),
            "kept": pytest.approx((sample.y == call)[left].mean(), abs=1e-5),
        }
    assert kept_headlines(sample, np.full(calls.shape, np.nan), kept) == {}


def test_a_curve_ends_at_all_calls_with_the_surest_first(sample: Sample, calls: np.ndarray) -> None:
    right = np.where(calls == sample.y, 0.1, 0.9)  # doubt that knows
    rows = [
        row
        for row in curve_rows("x", "y", sample, calls, np.where(np.isnan(calls), np.nan, right))
        if row[2] == ALL
    ]
    made = sample.mask & ~np.isnan(calls)
    accuracy = (calls == sample.y)[made].mean()
    assert float(rows[-1][4]) == pytest.approx(accuracy, abs=1e-5) and float(rows[0][4]) == 1
    ppv = (sample.y == 1)[made & (calls == 1)].mean()
    npv = (sample.y == 0)[made & (calls == 0)].mean()
    assert [float(cell) for cell in rows[-1][5:]] == [
        pytest.approx(ppv, abs=1e-5),
        pytest.approx(npv, abs=1e-5),
    ]


def test_coverage_counts_those_of_a_class_whose_truth_is_not_ruled_out(sample: Sample) -> None:
    wrong = (np.random.default_rng(3).random(sample.y.shape) < 0.1).astype(float)
    wrong[:, 2] = np.nan
    found = coverages(sample, wrong, np.ones(sample.y.shape, dtype=bool))
    assert {one.finding for one in found} == set(FINDINGS[:2])
    for one in found:
        j, value = FINDINGS.index(one.finding), int(one.truth == "present")
        by_patient = defaultdict(list)
        for i in np.flatnonzero(sample.mask[:, j] & (sample.y[:, j] == value)):
            by_patient[sample.cluster[i]].append(wrong[i, j] == 0)
        assert one.coverage == pytest.approx(
            np.mean([np.mean(own) for own in by_patient.values()]), abs=1e-12
        )
        assert (one.patients, one.kept) == (len(by_patient), 1)
