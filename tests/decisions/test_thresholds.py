"""Each threshold is the best of all that make a difference, and calls are made at or above it."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from cxrscore.decisions.thresholds import COMMON, RULES, calls_of, choose_thresholds, cuts
from cxrscore.statistics.sample import Sample


def sample_of(seed: int, n: int = 120, findings: int = 3) -> Sample:
    generator = np.random.default_rng(seed)
    probs = generator.integers(0, 40, (n, findings)) / 40  # with ties
    y = (generator.random((n, findings)) < probs).astype(np.int8)
    mask = generator.random((n, findings)) < 0.9
    names = tuple(f"finding {j}" for j in range(findings))
    return Sample(names, y, mask, probs, np.arange(n))


def tried(probs: np.ndarray) -> list[float]:
    """A threshold below, between and above all probabilities."""
    values = np.unique(probs)
    return [-1.0, *((values[1:] + values[:-1]) / 2), 2.0]


@pytest.mark.parametrize("seed", range(8))
def test_thresholds_by_finding_are_those_that_trying_all_of_them_finds(seed: int) -> None:
    sample = sample_of(seed)
    chosen = choose_thresholds(sample, sensitivity=0.8, specificity=0.7)
    assert set(chosen) == set(RULES)
    for j in range(3):
        known = sample.mask[:, j]
        y, probs = sample.y[known, j], sample.scores[known, j]

        def sensitivity(t: float, y: np.ndarray = y, probs: np.ndarray = probs) -> float:
            return float(recall_score(y, probs >= t, zero_division=0))

        def specificity(t: float, y: np.ndarray = y, probs: np.ndarray = probs) -> float:
            return float(recall_score(1 - y, probs < t, zero_division=0))

        def f1(t: float, y: np.ndarray = y, probs: np.ndarray = probs) -> float:
            return float(f1_score(y, probs >= t, zero_division=0))

        def accuracy(t: float, y: np.ndarray = y, probs: np.ndarray = probs) -> float:
            return float(accuracy_score(y, probs >= t))

        every = tried(probs)
        best = {"youden": lambda t: sensitivity(t) + specificity(t), "f1": f1, "accuracy": accuracy}
        for rule, measure in best.items():
            assert measure(chosen[rule][j]) == pytest.approx(max(map(measure, every)), abs=1e-12)
        enough = [t for t in every if sensitivity(t) >= 0.8]
        assert sensitivity(chosen["sensitivity"][j]) >= 0.8
        assert specificity(chosen["sensitivity"][j]) == max(map(specificity, enough))
        enough = [t for t in every if specificity(t) >= 0.7]
        assert specificity(chosen["specificity"][j]) >= 0.7
        assert sensitivity(chosen["specificity"][j]) == max(map(sensitivity, enough))


def test_one_threshold_for_all_findings_is_the_best_of_those_tried() -> None:
    sample = sample_of(1)
    sample = Sample(sample.findings, sample.y, np.ones_like(sample.mask), sample.scores, sample.cluster)
    chosen = choose_thresholds(sample, sensitivity=0.9, specificity=0.9)

    def score(t: float, average: str) -> float:
        return float(f1_score(sample.y, sample.scores >= t, average=average, zero_division=0))

    def example(t: float) -> float:
        calls = sample.scores >= t
        rows = (sample.y == 1).any(1) | calls.any(1)  # an image without either has no F1
        return float(f1_score(sample.y[rows], calls[rows], average="samples"))

    def exact(t: float) -> float:
        return float(accuracy_score(sample.y, sample.scores >= t))

    def cf1(t: float) -> float:
        calls = sample.scores >= t
        hits = (calls & (sample.y == 1)).sum(0)
        cp, cr = (hits / np.maximum(calls.sum(0), 1)).mean(), (hits / sample.y.sum(0)).mean()
        return float(2 * cp * cr / (cp + cr)) if cp + cr else 0.0

    for rule in ("micro_f1", "cf1", "example_f1", "subset_accuracy"):
        assert len(set(chosen[rule])) == 1
    micro = max(score(t, "micro") for t in tried(sample.scores))
    assert score(chosen["micro_f1"][0], "micro") == pytest.approx(micro, abs=1e-12)
    assert example(chosen["example_f1"][0]) == pytest.approx(max(map(example, COMMON)), abs=1e-12)
    assert exact(chosen["subset_accuracy"][0]) == pytest.approx(max(map(exact, COMMON)), abs=1e-12)
    assert cf1(chosen["cf1"][0]) == pytest.approx(max(map(cf1, COMMON)), abs=1e-12)


def test_a_finding_that_too_few_patients_show_has_no_threshold_and_no_call() -> None:
    sample = sample_of(2)
    y = sample.y.copy()
    y[:, 1] = 0
    y[:3, 1] = 1
    sample = Sample(sample.findings, y, np.ones_like(sample.mask), sample.scores, sample.cluster)
    chosen = choose_thresholds(sample, sensitivity=0.9, specificity=0.9)
    for rule in RULES:
        assert np.isnan(chosen[rule]).tolist() == [False, True, False], rule
    calls = calls_of(sample.scores, chosen["youden"])
    assert np.isnan(calls[:, 1]).all() and set(np.unique(calls[:, 0])) == {0.0, 1.0}


def test_a_call_is_one_at_the_threshold_itself() -> None:
    assert calls_of(np.array([[0.4, 0.5, 0.6]]).T, np.array([0.5]))[:, 0].tolist() == [0, 1, 1]


def test_neighbours_in_float64_are_told_apart() -> None:
    low = 0.1
    high = np.nextafter(low, 1)
    found = cuts(np.array([0, 1]), np.array([low, high]))
    assert low < found.threshold[1] <= high
