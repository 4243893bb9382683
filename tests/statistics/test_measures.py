"""Each figure is what scikit-learn, scipy or a slow loop finds, and a weight is a row repeated."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from cxrscore.statistics.calibration import BINS, CLIP
from cxrscore.statistics.label_counts import images_per_label, labels_per_image
from cxrscore.statistics.measures import MEASURES

Truth = tuple[np.ndarray, np.ndarray, np.ndarray]
SEEDS = range(40)


def some_labels(seed: int, *, images: int = 30, findings: int = 5) -> Truth:
    """y, mask and scores with ties, 0 and 1 among them; one finding that nobody shows, another that is known
    of one image, and an image of which nothing is known.
    """
    draw = np.random.default_rng(seed)
    y = (draw.random((images, findings)) < draw.uniform(0.05, 0.7, findings)).astype(np.int8)
    mask = draw.random((images, findings)) < 0.8
    scores = np.round(np.clip(0.3 * y + draw.random((images, findings)) * 0.9 - 0.1, 0, 1), 1 + seed % 2)
    y[:, 3] = 0
    mask[1:, 4] = False
    mask[-1] = False
    return y, mask, scores.astype(np.float32)


def once(name: str, y: np.ndarray, mask: np.ndarray, scores: np.ndarray) -> float:
    return float(MEASURES[name].prepare(y, mask, scores).values(np.ones((len(y), 1)))[0])


def both_classes(y: np.ndarray) -> bool:
    return 0 < y.sum() < len(y)


def roc(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fpr, tpr, _ = sk.roc_curve(y, p, drop_intermediate=False)
    return fpr, tpr


def slow_calibration_error(y: np.ndarray, p: np.ndarray) -> float:
    total = 0.0
    for m in range(BINS):
        of_bin = [
            i for i in range(len(y)) if (m < p[i] * BINS or (m == 0 and p[i] == 0)) and p[i] * BINS <= m + 1
        ]
        if of_bin:
            accuracy, confidence = np.mean(y[of_bin]), np.mean(p[of_bin])
            total += len(of_bin) / len(y) * abs(accuracy - confidence)
    return total


def logits_of(p: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return np.log(clipped / (1 - clipped))


def slow_intercept(y: np.ndarray, p: np.ndarray) -> float:
    x = logits_of(p)
    return float(brentq(lambda a: (y - 1 / (1 + np.exp(-a - x))).sum(), -100, 100, xtol=1e-13))


def slow_slope(y: np.ndarray, p: np.ndarray) -> float:
    x = logits_of(p)
    if x[y == 1].min() >= x[y == 0].max() or x[y == 1].max() <= x[y == 0].min():
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the option that some versions call penalty, others C
        fitted = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
        return float(fitted.fit(x[:, None], y).coef_[0, 0])


# of (n,) truth and float64 probabilities whose labels are all known, of both classes where it is so marked
OF_FINDING: dict[str, tuple[bool, Callable[[Any, Any], float]]] = {
    "auc": (True, sk.roc_auc_score),
    "average_precision": (True, sk.average_precision_score),
    "brier": (False, lambda y, p: float(np.mean([(a - b) ** 2 for a, b in zip(y, p, strict=True)]))),
    "calibration_error": (False, slow_calibration_error),
    "calibration_intercept": (True, slow_intercept),
    "calibration_slope": (True, slow_slope),
    "sensitivity_at_specificity_90": (True, lambda y, p: max(roc(y, p)[1][roc(y, p)[0] <= 0.1 + 1e-12])),
    "specificity_at_sensitivity_90": (True, lambda y, p: 1 - min(roc(y, p)[0][roc(y, p)[1] >= 0.9 - 1e-12])),
    "prevalence": (False, lambda y, p: float(np.mean(y))),
}
TOLERANCE = {"calibration_intercept": 1e-7, "calibration_slope": 1e-6}  # of the judges; else 1e-12


def above_half(y: np.ndarray, mask: np.ndarray, scores: np.ndarray, *, top: int | None) -> list[set[int]]:
    """Of each image the findings that are called: a loop."""
    found = []
    for i in range(len(y)):
        known = [j for j in range(y.shape[1]) if mask[i, j]]
        ranked = sorted(known, key=lambda j, i=i: (-scores[i, j], j))  # type: ignore[misc]
        found.append({j for j in ranked[:top] if scores[i, j] > 0.5})
    return found


def slow_table(y: np.ndarray, mask: np.ndarray, scores: np.ndarray, top: int | None) -> dict[str, float]:
    called = above_half(y, mask, scores, top=top)
    true = [{j for j in range(y.shape[1]) if mask[i, j] and y[i, j] == 1} for i in range(len(y))]
    findings = range(y.shape[1])
    correct = [sum(j in a and j in b for a, b in zip(true, called, strict=True)) for j in findings]
    predicted = [sum(j in one for one in called) for j in findings]
    truth = [sum(j in one for one in true) for j in findings]
    there = [j for j in findings if truth[j]]

    def ratio(a: float, b: float) -> float:
        return a / b if b else math.nan

    cp = ratio(sum(correct[j] / predicted[j] if predicted[j] else 0.0 for j in there), len(there))
    cr = ratio(sum(correct[j] / truth[j] for j in there), len(there))
    op, over = ratio(sum(correct), sum(predicted)), ratio(sum(correct), sum(truth))
    f1 = [2 * correct[j] / (truth[j] + predicted[j]) for j in findings if truth[j] + predicted[j]]
    seen = [i for i in range(len(y)) if mask[i].any()]
    of_images = [
        2 * len(a & b) / (len(a) + len(b)) for a, b in zip(true, called, strict=True) if len(a) + len(b)
    ]
    return {
        "cp": cp,
        "cr": cr,
        "cf1": 0.0 if cp + cr == 0 else 2 * cp * cr / (cp + cr),
        "op": op,
        "or": over,
        "of1": ratio(2 * sum(correct), sum(truth) + sum(predicted)),
        "subset_accuracy": ratio(sum(true[i] == called[i] for i in seen), len(seen)),
        "hamming_loss": ratio(sum(len(true[i] ^ called[i]) for i in seen), mask.sum()),
        "example_f1": ratio(sum(of_images), len(of_images)),
        "micro_f1": ratio(2 * sum(correct), sum(truth) + sum(predicted)),
        "macro_f1": ratio(sum(f1), len(f1)),
    }


@pytest.mark.parametrize("name", OF_FINDING)
def test_a_figure_of_a_finding_is_the_judges(name: str) -> None:
    two_classes, judge = OF_FINDING[name]
    defined = 0
    for seed in SEEDS:
        for y, mask, scores in zip(*(array.T for array in some_labels(seed)), strict=True):
            found, known = once(name, y, mask, scores), y[mask]
            if not len(known) or (two_classes and not both_classes(known)):
                assert math.isnan(found)
                continue
            expected = judge(known, scores[mask].astype(float))
            assert found == pytest.approx(expected, abs=TOLERANCE.get(name, 1e-12), nan_ok=True)
            defined += not math.isnan(found)
    assert defined > 100


@pytest.mark.parametrize("top", [None, 3])
def test_the_papers_figures_are_those_of_a_loop(top: int | None) -> None:
    for seed in SEEDS:
        truth = some_labels(seed)
        expected = slow_table(*truth, top)
        names = expected if top is None else list(expected)[:6]
        for name in names:
            found = once(name if top is None else f"{name}_top3", *truth)
            assert found == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name


def test_the_papers_figures_are_scikit_learns_where_all_labels_are_known() -> None:
    y, _, scores = some_labels(1)
    y[:, 3] = 1 - y[:, 0]  # each finding is there
    mask, p = np.ones(y.shape, dtype=bool), scores > 0.5
    something = (y | p).any(1)
    expected = {
        "ap_all": sk.average_precision_score(y, scores, average="micro"),
        "cp": sk.precision_score(y, p, average="macro", zero_division=0),
        "cr": sk.recall_score(y, p, average="macro"),
        "op": sk.precision_score(y, p, average="micro"),
        "or": sk.recall_score(y, p, average="micro"),
        "subset_accuracy": sk.accuracy_score(y, p),
        "hamming_loss": sk.hamming_loss(y, p),
        "example_f1": sk.f1_score(y[something], p[something], average="samples", zero_division=0),
        "micro_f1": sk.f1_score(y, p, average="micro"),
        "macro_f1": sk.f1_score(y, p, average="macro"),
    }
    assert {name: once(name, y, mask, scores) for name in expected} == pytest.approx(expected, abs=1e-12)


def test_figures_of_the_same_sums_have_them_made_once() -> None:
    def bases(names: list[str]) -> int:
        return len({MEASURES[name].base for name in names})

    counted = ["cp", "cr", "cf1", "op", "or", "of1"]
    assert bases([*counted, "micro_f1", "macro_f1"]) == 1
    assert bases([f"{name}_top3" for name in counted]) == 1
    assert bases(["calibration_intercept", "calibration_slope"]) == 1


def labels_and_weights() -> st.SearchStrategy[tuple[Truth, list[int]]]:
    cell = st.tuples(st.booleans(), st.booleans(), st.integers(0, 10), st.integers(0, 10))

    def made(rows: list[tuple[list[tuple[bool, bool, int, int]], int]]) -> tuple[Truth, list[int]]:
        cells = np.array([row for row, _ in rows])
        y, mask = cells[..., 0].astype(np.int8), cells[..., 1] | (cells[..., 3] > 2)
        return (y, mask.astype(bool), (cells[..., 2] / 10).astype(np.float32)), [times for _, times in rows]

    row = st.tuples(st.lists(cell, min_size=4, max_size=4), st.integers(0, 3))
    return st.lists(row, min_size=1, max_size=12).map(made)


@settings(max_examples=150, deadline=None)
@given(labels_and_weights())
def test_a_weight_is_a_row_repeated(case: tuple[Truth, list[int]]) -> None:
    """Beside other resamples, and whatever the weights are multiplied by."""
    (y, mask, scores), times = case
    weights = np.column_stack([np.ones(len(y)), times, np.array(times) / 7, np.zeros(len(y))])
    rows = np.repeat(np.arange(len(y)), times)
    for name, measure in MEASURES.items():
        columns = (slice(None),) if measure.of == "table" else (0, 1)
        for column in columns:
            truth = y[:, column], mask[:, column], scores[:, column]
            found = measure.prepare(*truth).values(weights)
            repeated = once(name, *(array[rows] for array in truth))
            assert found == pytest.approx(
                [once(name, *truth), repeated, repeated, math.nan], abs=1e-6, nan_ok=True
            ), name


@pytest.mark.parametrize("name", MEASURES)
def test_what_is_masked_counts_nowhere(name: str) -> None:
    y, mask, scores = some_labels(2)
    other = np.where(mask, y, 1 - y), mask, np.where(mask, scores, 1 - scores)
    for column in (slice(None),) if MEASURES[name].of == "table" else range(5):
        same = (once(name, *(array[:, column] for array in truth)) for truth in ((y, mask, scores), other))
        np.testing.assert_equal(*same)


def test_nothing_known_defines_nothing() -> None:
    y, _, scores = some_labels(3)
    nothing = np.zeros(y.shape, dtype=bool)
    for name, measure in MEASURES.items():
        column = slice(None) if measure.of == "table" else 0
        assert math.isnan(once(name, y[:, column], nothing[:, column], scores[:, column])), name


def test_the_better_scores_are_better_by_every_figure_that_says_so() -> None:
    draw = np.random.default_rng(0)
    y = (draw.random((400, 4)) < 0.4).astype(np.int8)
    mask = np.ones(y.shape, dtype=bool)
    good, bad = (
        np.clip(0.5 + (y - 0.5) * clear + draw.normal(0, 0.2, y.shape), 0, 1) for clear in (0.8, 0.1)
    )
    for name, measure in MEASURES.items():
        column = slice(None) if measure.of == "table" else 0
        gain = once(name, y[:, column], mask[:, column], good[:, column]) - once(
            name, y[:, column], mask[:, column], bad[:, column]
        )
        assert measure.better == "neither" or gain * (1 if measure.better == "higher" else -1) > 0, name


def test_recalibration_finds_what_the_probabilities_were_made_with() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 1.5, 200_000)
    y = (draw.random(len(logits)) < 1 / (1 + np.exp(-0.5 * logits))).astype(np.int8)
    mask = np.ones(len(y), dtype=bool)
    assert once("calibration_slope", y, mask, 1 / (1 + np.exp(-logits))) == pytest.approx(0.5, abs=0.02)
    assert once("calibration_intercept", y, mask, 1 / (1 + np.exp(1 - 0.5 * logits))) == pytest.approx(
        1, abs=0.02
    )


def test_recalibration_of_many_images_is_that_of_each() -> None:
    """Of more different logits than there are groups: the expected labels of a group are a curve."""
    draw = np.random.default_rng(1)
    logits = draw.normal(-1, 2, 20_000)
    y = (draw.random(len(logits)) < 1 / (1 + np.exp(0.3 - 1.4 * logits))).astype(np.int8)
    p, mask = 1 / (1 + np.exp(-logits)), draw.random(len(logits)) < 0.9
    times = draw.integers(0, 3, len(logits))
    rows = np.repeat(np.arange(len(y)), times * mask)
    for name, judge in (("calibration_intercept", slow_intercept), ("calibration_slope", slow_slope)):
        found = MEASURES[name].prepare(y, mask, p).values(np.column_stack([mask, times]).astype(float))
        assert found == pytest.approx([judge(y[mask], p[mask]), judge(y[rows], p[rows])], abs=1e-6)


def test_ties_decide_no_operating_point_halfway() -> None:
    """Nine of ten negatives lie below 0.5, and the tenth ties with two of three positives."""
    y = np.array([0] * 10 + [1] * 3, dtype=np.int8)
    scores = np.array([0.1] * 9 + [0.5, 0.5, 0.5, 0.9])
    mask = np.ones(13, dtype=bool)
    assert once("sensitivity_at_specificity_90", y, mask, scores) == pytest.approx(1)
    scores[8] = 0.5  # now two negatives of ten are at 0.5
    assert once("sensitivity_at_specificity_90", y, mask, scores) == pytest.approx(1 / 3)
    assert once("specificity_at_sensitivity_90", y, mask, scores) == pytest.approx(0.8)


def test_labels_are_counted_by_image_and_by_finding() -> None:
    y = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    mask = np.array([[True] * 3, [True] * 3, [True] * 3, [False] * 3])
    assert labels_per_image(y, mask) == (1, 0.5, 3)
    assert images_per_label(y, mask) == (4 / 3, 1, 2)
