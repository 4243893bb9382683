"""The interval of a difference is what repeating rows and measuring each time gives, patient by patient."""

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxrscore.core.errors import BrokenPromise
from cxrscore.statistics import bootstrap, roc_area
from cxrscore.statistics.bootstrap import (
    FEWEST_IN_FOLD,
    Truth,
    freedoms,
    rarer_patients,
    replicates,
    resampled_areas,
    shown_by_fold,
    together,
    well_shown,
)
from cxrscore.statistics.intervals import freedom_of, interval, pooled_freedom
from cxrscore.statistics.roc_area import auc_by_finding, macro, ranked

Scores = list[np.ndarray]


def some_folds(*, images: int = 60, patients: int = 20, findings: int = 3, folds: int = 2) -> list[Truth]:
    """Rare findings, some labels masked, patients with several images in either fold."""
    draw = np.random.default_rng(7)
    y = (draw.random((images, findings)) < [0.4, 0.2, 0.1][:findings]).astype(np.int8)
    mask = draw.random((images, findings)) < 0.9
    patient = np.append(np.arange(patients), draw.integers(patients, size=images - patients))
    fold = draw.integers(folds, size=images)
    return [Truth(y[fold == k], mask[fold == k], patient[fold == k]) for k in range(folds)]


def some_scores(folds: list[Truth], seed: int) -> Scores:
    """Of one decimal, so that there are ties."""
    draw = np.random.default_rng(seed)
    return [np.round(draw.random(fold.y.shape) + 0.4 * fold.y, 1).astype(np.float32) for fold in folds]


def areas(folds: list[Truth], seed: int = 0, resamples: int = 200, **ways: Any) -> dict[str, np.ndarray]:
    found = resampled_areas(folds, ways, resamples=resamples, generator=np.random.default_rng(seed))
    return {name: way.macro for name, way in found.items()}


def macro_area_of_repeated_rows(folds: list[Truth], seeds: list[Scores], drawn: np.ndarray) -> float:
    """The obvious way: take each image of a drawn patient as often as the patient was drawn."""
    of_seeds = []
    for scores in seeds:
        of_folds = []
        for fold, score in zip(folds, scores, strict=True):
            rows = [i for patient in drawn for i in np.flatnonzero(fold.patient == patient)]
            of_findings = []
            for j in range(fold.y.shape[1]):
                known = [i for i in rows if fold.mask[i, j]]
                if len(set(fold.y[known, j])) == 2:
                    of_findings.append(roc_auc_score(fold.y[known, j], score[known, j]))
            if of_findings:
                of_folds.append(np.mean(of_findings))
        of_seeds.append(np.mean(of_folds))
    return float(np.mean(of_seeds))


def test_a_resample_is_what_sklearn_measures_on_repeated_rows() -> None:
    folds = some_folds()
    seeds = [some_scores(folds, 1), some_scores(folds, 2)]
    found = areas(folds, seed=3, resamples=40, one=seeds)["one"]
    generator = np.random.default_rng(3)
    for area in found:
        drawn = generator.integers(20, size=20)
        assert area == pytest.approx(macro_area_of_repeated_rows(folds, seeds, drawn), abs=1e-12)


class EachOnce(np.random.Generator):
    """Draws every patient once."""

    def integers(self, high: int, *, size: int) -> np.ndarray:  # type: ignore[override]  # all we call
        assert high == size
        return np.arange(size)


def test_with_every_patient_drawn_once_it_is_the_plain_area() -> None:
    folds = some_folds()
    scores = some_scores(folds, 1)
    once = EachOnce(np.random.PCG64(0))
    found = resampled_areas(folds, {"one": [scores]}, resamples=1, generator=once)["one"].macro
    plain = [
        macro(auc_by_finding(fold.y, fold.mask, score)) for fold, score in zip(folds, scores, strict=True)
    ]
    assert found == pytest.approx([np.mean(plain)], abs=1e-12)


def test_identical_ways_differ_by_exactly_nothing() -> None:
    folds = some_folds()
    found = areas(folds, one=[some_scores(folds, 1)], other=[some_scores(folds, 1)])
    assert interval(0.0, found["one"] - found["other"]) == (0.0, 0.0)


def test_ways_are_compared_on_the_same_resamples() -> None:
    """Of two ways that rank nearly alike the difference is known far better than either area."""
    folds = some_folds()
    one = some_scores(folds, 1)
    other = [score.copy() for score in one]
    other[0][0, 0] += 0.3
    found = areas(folds, one=[one], other=[other])
    assert np.std(found["one"] - found["other"]) < 0.2 * np.std(found["one"])


def test_a_better_way_is_found_better_and_the_interval_turns_with_the_sign() -> None:
    folds = some_folds(images=400, patients=150)
    good = [fold.y + np.random.default_rng(5).random(fold.y.shape) for fold in folds]
    found = areas(folds, good=[good], bad=[some_scores(folds, 1)])
    more = found["good"] - found["bad"]
    low, high = interval(float(more.mean()), more)
    assert 0 < low < high
    assert interval(-float(more.mean()), -more) == pytest.approx((-high, -low))


def width(folds: list[Truth], ways: dict[str, Scores]) -> float:
    found = areas(folds, resamples=1000, **{name: [scores] for name, scores in ways.items()})
    low, high = interval(0.0, found["one"] - found["other"])
    return high - low


def test_a_second_copy_of_each_patients_images_is_no_second_patient() -> None:
    folds = some_folds(images=300, patients=300, folds=1)
    ways = {"one": some_scores(folds, 1), "other": some_scores(folds, 2)}
    twice = {name: [np.repeat(score, 2, axis=0) for score in scores] for name, scores in ways.items()}
    truth = folds[0]
    y, mask, patient = (np.repeat(array, 2, axis=0) for array in (truth.y, truth.mask, truth.patient))
    clustered = width([Truth(y, mask, patient)], twice)
    by_image = width([Truth(y, mask, np.arange(len(y)))], twice)
    assert clustered == pytest.approx(width(folds, ways), abs=1e-12)
    assert clustered / by_image == pytest.approx(2**0.5, rel=0.1)


def test_a_patient_in_two_folds_carries_one_weight_into_both() -> None:
    """Two patients: one has the positives of both folds, the other the negatives. A resample defines both
    folds or, where one patient is drawn twice, none.
    """
    y, mask = np.array([[1], [0]]), np.ones((2, 1), dtype=bool)
    folds = [Truth(y, mask, np.array([0, 1]))] * 2
    right, wrong = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])
    found = areas(folds, one=[[right, wrong]])["one"]
    assert set(found[~np.isnan(found)]) == {0.5}
    assert 0.4 < np.isnan(found).mean() < 0.6


def test_a_masked_label_counts_nowhere() -> None:
    folds = some_folds()
    scores = some_scores(folds, 1)
    other = [np.where(fold.mask, score, 0.5) for fold, score in zip(folds, scores, strict=True)]
    found = areas(folds, one=[scores], other=[other])
    np.testing.assert_array_equal(found["one"], found["other"])


def test_a_finding_of_one_class_is_left_out() -> None:
    (fold,) = some_folds(folds=1)
    (score,) = some_scores([fold], 1)
    y, mask = np.hstack([fold.y, np.ones((60, 1))]), np.hstack([fold.mask, np.ones((60, 1), dtype=bool)])
    more = areas([Truth(y, mask, fold.patient)], one=[[np.hstack([score, score[:, :1]])]])
    np.testing.assert_array_equal(more["one"], areas([fold], one=[[score]])["one"])


def test_the_memory_it_may_take_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = some_folds()
    whole = areas(folds, one=[some_scores(folds, 1)])["one"]
    monkeypatch.setattr(bootstrap, "CELLS", 7 * 60)
    np.testing.assert_array_equal(areas(folds, one=[some_scores(folds, 1)])["one"], whole)


@pytest.mark.parametrize("cells", [1, 150, 100_000])
def test_threads_and_blocks_change_nothing(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (fold,) = some_folds(folds=1)
    (score,) = some_scores([fold], 1)

    def found(cores: int) -> np.ndarray:
        monkeypatch.setattr(bootstrap, "usable_cores", lambda: cores)
        columns = zip(fold.y.T, fold.mask.T, score.T, strict=True)
        figures = {j: ranked(*column) for j, column in enumerate(columns)}
        generator = np.random.default_rng(0)
        drawn = replicates(figures, fold.patient, resamples=100, generator=generator)
        return np.stack([drawn[j] for j in range(3)])

    whole = found(1)
    monkeypatch.setattr(roc_area, "CELLS", cells)
    np.testing.assert_array_equal(found(4), whole)
    np.testing.assert_array_equal(whole.shape, (3, 100))


def test_scores_of_other_images_are_no_comparison() -> None:
    folds = some_folds()
    with pytest.raises(BrokenPromise, match="scores of other images"):
        areas(folds, one=[some_scores(folds, 1)[::-1]])


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    """60 patients of two images whose scores go together; 200 times. The true area is Phi(d / sqrt 2)."""
    draw = np.random.default_rng(11)
    truth = NormalDist().cdf(1.5 / 2**0.5) - NormalDist().cdf(1.0 / 2**0.5)
    patient = np.repeat(np.arange(60), 2)
    mask = np.ones((120, 2), dtype=bool)

    def scored(y: np.ndarray, distance: float) -> Scores:
        shared = draw.normal(size=(60, 2))[patient]
        return [distance * y + 0.8 * shared + 0.6 * draw.normal(size=y.shape)]

    hits = []
    for _ in range(200):
        y = (draw.random((120, 2)) < 0.3).astype(np.int8)
        ways = {"one": [scored(y, 1.5)], "other": [scored(y, 1.0)]}
        fold = Truth(y, mask, patient)
        found = resampled_areas([fold], ways, resamples=200, generator=draw)
        areas = {name: macro(auc_by_finding(y, mask, scores[0])) for name, (scores,) in ways.items()}
        apart = found["one"].findings - found["other"].findings
        of_mean = pooled_freedom(freedoms(y, mask, patient), apart)
        more = found["one"].macro - found["other"].macro
        low, high = interval(areas["one"] - areas["other"], more, freedom=of_mean)
        hits.append(low <= truth <= high)
    assert 0.92 <= np.mean(hits) <= 0.985


def test_well_shown_counts_patients_of_either_class_and_no_masked_label() -> None:
    n = 4 * FEWEST_IN_FOLD
    y, mask = np.zeros((n, 5), dtype=np.int8), np.ones((n, 5), dtype=bool)
    patient = np.arange(n)
    patient[FEWEST_IN_FOLD:] //= 2
    patient[FEWEST_IN_FOLD:] += FEWEST_IN_FOLD  # from there on two images each
    y[:FEWEST_IN_FOLD, 0] = 1  # enough patients
    y[-FEWEST_IN_FOLD:, 1] = 1  # as many images, of fewer patients
    y[: n - 1, 2] = 1  # hardly anybody without it
    y[:FEWEST_IN_FOLD, 3] = 1
    mask[0, 3] = False  # one of them is not known
    assert well_shown(Truth(y, mask, patient)).tolist() == [True, False, False, False, False]


def test_a_mean_over_folds_has_in_it_what_enough_patients_of_a_fold_and_of_all_folds_show() -> None:
    """7, 6 and 7 patients of three folds show the first finding; 6 each the second; 16, 4 and 4 the third, of
    whom 16 are in a fold where five show it; 20 and none elsewhere the fourth.
    """
    shown = np.array([(7, 6, 16, 20), (6, 6, 4, 0), (7, 6, 4, 0)])
    patients = np.arange(60)
    folds = [
        Truth(y, np.ones(y.shape, dtype=bool), 60 * k + patients)
        for k, y in enumerate((patients[:, None] < shown[:, None]).astype(np.int8))
    ]
    found = shown_by_fold(folds)
    assert np.array(found).tolist() == [
        [True, False, False, True],
        [True, False, False, False],
        [True, False, False, False],
    ]
    masked = [Truth(one.y, one.mask & there, one.patient) for one, there in zip(folds, found, strict=True)]
    assert np.array_equal(shown_by_fold(masked), found)


def test_patients_of_the_rarer_class_are_counted_over_folds_once() -> None:
    mask = np.ones((3, 2), dtype=bool)
    one = Truth(np.array([[1, 1], [0, 0], [1, 0]]), mask, np.array([0, 1, 2]))
    other = Truth(np.array([[1, 0], [1, 1], [0, 1]]), mask, np.array([0, 3, 4]))
    whole = together([one, other])
    found = rarer_patients(whole.y, whole.mask, whole.patient)
    assert found.tolist() == [2, 3]  # 0, 2, 3 have the first; 1 and 4 have it not
    masked = together([one, Truth(other.y, mask & [[True, False]], other.patient)])
    assert rarer_patients(masked.y, masked.mask, masked.patient).tolist() == [2, 1]


def test_a_figure_is_known_from_what_patients_are_worth_that_show_it_and_that_do_not() -> None:
    y = np.array([[1], [1], [1], [0], [0], [0], [0]], dtype=np.int8)
    mask = np.array([[True]] * 6 + [[False]])
    (found,) = freedoms(y, mask, np.array([0, 0, 1, 1, 2, 3, 4]))
    assert found == freedom_of(9 / 5, 3)
